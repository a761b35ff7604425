/* Makes system calls as told and prints what each gave, a line each. It needs no library and no loader.
 *
 *   probe NUMBER ARGUMENT… [+ NUMBER ARGUMENT…]…      in this machine's way
 *   probe 32 NUMBER ARGUMENT… [+ …]…                  in the way of 32-bit programs, on x86-64
 *
 * An argument is a number, @TEXT for a pointer to that text, :N,N,… for a pointer to 32-bit numbers, or $ for
 * what the call before gave. Numbers may be negative or hexadecimal. Everything pointed to lies below 4 GiB.
 */
typedef unsigned long word;

static char pool[16384] __attribute__((aligned(16)));
static word used;

static long call64(word n, const word *a) {
    long r;
#if defined(__x86_64__)
    register word d __asm__("r10") = a[3];
    register word e __asm__("r8") = a[4];
    register word f __asm__("r9") = a[5];
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(d), "r"(e), "r"(f)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register word x8 __asm__("x8") = n;
    register word x0 __asm__("x0") = a[0];
    register word x1 __asm__("x1") = a[1];
    register word x2 __asm__("x2") = a[2];
    register word x3 __asm__("x3") = a[3];
    register word x4 __asm__("x4") = a[4];
    register word x5 __asm__("x5") = a[5];
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    r = (long)x0;
#else
#error unknown machine
#endif
    return r;
}

static long call32(word n, const word *a) {
#if defined(__x86_64__)
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4])
                     : "r8", "r9", "r10", "r11", "memory");
    return (int)r;
#else
    (void)n; (void)a;
    return -38;
#endif
}

static word number(const char **at) {
    const char *p = *at;
    int minus = *p == '-';
    word base = 10, value = 0;
    p += minus;
    if (p[0] == '0' && p[1] == 'x') { base = 16; p += 2; }
    for (;; p++) {
        word digit;
        if (*p >= '0' && *p <= '9') digit = (word)(*p - '0');
        else if (base == 16 && *p >= 'a' && *p <= 'f') digit = (word)(*p - 'a' + 10);
        else break;
        value = value * base + digit;
    }
    *at = p;
    return minus ? (word)(-(long)value) : value;
}

static word argument(const char *p, long last) {
    word start = used = (used + 15) & ~15ul;
    if (*p == '$') return (word)last;
    if (*p == '@') {
        for (p++; *p && used < sizeof pool - 16; p++) pool[used++] = *p;
        pool[used++] = 0;
        return (word)&pool[start];
    }
    if (*p == ':') {
        do {
            p++;
            *(unsigned *)&pool[used] = (unsigned)number(&p);
            used += 4;
        } while (*p == ',' && used < sizeof pool - 16);
        return (word)&pool[start];
    }
    return number(&p);
}

static void print(long value) {
    char text[24];
    int at = sizeof text;
    word rest = value < 0 ? (word)-value : (word)value;
    text[--at] = '\n';
    do { text[--at] = (char)('0' + rest % 10); rest /= 10; } while (rest);
    if (value < 0) text[--at] = '-';
#if defined(__x86_64__)
    word a[6] = {1, (word)&text[at], sizeof text - (word)at, 0, 0, 0};
    call64(1, a);
#else
    word a[6] = {1, (word)&text[at], sizeof text - (word)at, 0, 0, 0};
    call64(64, a);
#endif
}

__attribute__((used)) void begin(word *stack) {
    long last = 0;
    int count = (int)stack[0], at = 1, narrow = 0;
    const char **words = (const char **)(stack + 1);
    if (count > 2 && words[1][0] == '3' && words[1][1] == '2' && !words[1][2]) { narrow = 1; at = 2; }
    while (at < count) {
        word n = argument(words[at++], last), a[6] = {0, 0, 0, 0, 0, 0};
        int i = 0;
        for (; at < count && !(words[at][0] == '+' && !words[at][1]); at++)
            if (i < 6) a[i++] = argument(words[at], last);
        at++;
        last = narrow ? call32(n, a) : call64(n, a);
        print(last);
    }
    word zero[6] = {0, 0, 0, 0, 0, 0};
#if defined(__x86_64__)
    call64(231, zero);
#else
    call64(94, zero);
#endif
    for (;;) { }
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#else
__asm__(".globl _start\n_start:\n mov x0, sp\n bl begin\n");
#endif
