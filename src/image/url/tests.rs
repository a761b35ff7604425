//! What addresses say of names, and what of them is kept.

use super::*;

#[test]
fn the_name_of_a_file_is_the_last_part_of_its_address() {
    for (url, name) in [
        ("http://h/a/b.txt?x=/y.txt#z", Some("b.txt")),
        ("http://h/a/", Some("a")),
        ("http://h/", None),
        ("http://h", None),
        ("http://h/a%20b", Some("a b")),
        ("http://h/a%2fb", Some("b")),
        ("http://h/a%2f..", None),
        ("http://h/%00", None),
    ] {
        let url = parse(url).unwrap();
        assert_eq!(name_of(&url).as_deref(), name, "{url}");
    }
}

#[test]
fn only_http_is_an_address_and_credentials_are_not_shown() {
    for wrong in [
        "file:///etc/passwd",
        "ftp://h/a",
        "http://",
        "a",
        "//h/a",
        "https:///x y:",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    let url = parse("https://me:secret@h:8443/a?b=c#d").unwrap();
    assert_eq!(shown(&url), "https://h:8443/a?b=c");
}

#[test]
fn what_is_remembered_is_found_by_a_digest_whatever_the_address_says() {
    let url = parse("http://h/../../etc/passwd").unwrap();
    let wanted = Wanted {
        url: &url,
        name: None,
        checksum: None,
        authorization: None,
    };
    let place = record_place(Path::new("/d"), &wanted);
    assert_eq!(place.parent(), Some(Path::new("/d/addresses")));
    assert_eq!(place.file_name().map(|name| name.len()), Some(64));
    // Other credentials, another place.
    let other = Wanted {
        authorization: Some("Bearer x"),
        ..wanted
    };
    assert_ne!(record_place(Path::new("/d"), &other), place);
}
