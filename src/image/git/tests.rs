//! What git's answers mean. Repositories themselves are in the end-to-end tests.

use super::*;

fn git(text: &str) -> GitRef {
    GitRef::parse(text).unwrap().unwrap()
}

#[test]
fn the_branch_that_is_named_is_chosen_among_those_that_end_like_it() {
    let (one, two, three) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
    let listed = format!(
        "{one}\trefs/heads/feature/main\n{two}\trefs/heads/main\n{one}\trefs/tags/v1\n{three}\trefs/tags/v1^{{}}\n"
    );
    let main = choose(&listed, "main").unwrap();
    assert_eq!(main.commit, two);
    assert_eq!(main.name.as_deref(), Some("refs/heads/main"));
    assert_eq!(choose(&listed, "v1").unwrap().commit, three);
    assert_eq!(
        choose(&listed, "refs/heads/feature/main").unwrap().commit,
        one
    );
    assert!(choose(&listed, "feature").is_none());
    assert!(choose("no commit\trefs/heads/main\n", "main").is_none());
}

#[test]
fn words_of_git_become_errors_without_the_password() {
    let reference = git("https://me:s3cret@h/b.git");
    let options = GitOptions::default();
    let git = Git {
        git: &reference,
        options: &options,
    };
    let step = "asking the repository";
    let words =
        "fatal: unable to access 'https://me@h/b.git/': Could not resolve host: s3cret\u{1b}[31m\n";
    let error = git.judge(step, words);
    assert!(matches!(error, GitError::Unreachable(_)));
    assert_eq!(
        error.to_string(),
        "the host is not in reach: unable to access 'https://h/b.git/': Could not resolve host: ***[31m"
    );
    let words = "remote: Repository not found.\nfatal: repository 'https://h/b.git/' not found\n";
    assert!(matches!(git.judge(step, words), GitError::NoRepository(_)));
    let words = "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make \
                 sure you have the correct access rights\nand the repository exists.\n";
    let error = git.judge(step, words);
    assert!(matches!(error, GitError::Unauthorized(_)));
    assert!(!error.to_string().contains("Please"));
    assert_eq!(
        git.judge(step, "").to_string(),
        "asking the repository failed: git gave no reason"
    );
}

#[test]
fn a_commit_that_is_here_needs_no_program_and_no_network() {
    let dir = std::env::temp_dir().join(format!("hoist-git-{}", std::process::id()));
    let commit = "a".repeat(40);
    std::fs::create_dir_all(dir.join(&commit)).unwrap();
    let kept = Kept::new(dir.clone());
    let options = GitOptions::default();
    let found = checkout(
        &kept,
        &git(&format!("git://nowhere.invalid/r#{commit}")),
        &options,
    );
    assert_eq!(found.unwrap().dir, dir.join(&commit));
    let pinned = format!("git://nowhere.invalid/r?checksum={commit}");
    assert_eq!(
        checkout(&kept, &git(&pinned), &options).unwrap().commit,
        commit
    );
    // A name must be asked for, and without PATH there is no git.
    let mut env = Env::default();
    env.vars
        .insert("PATH".to_owned(), dir.display().to_string());
    let options = GitOptions {
        env,
        ..GitOptions::default()
    };
    let missing = checkout(&kept, &git("git://nowhere.invalid/r#main"), &options);
    assert!(matches!(missing, Err(GitError::Missing)), "{missing:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}
