//! Passwords, and the file with them.

use super::*;

#[test]
fn a_password_can_be_set_and_removed() {
    let address = || plain().parse("postgres://ana@h/d").unwrap();
    for unusable in [&b""[..], b"a\0b", &[b'a'; MAX_PASSWORD + 1]] {
        let error = address().with_password(SecretBytes::copy_of(unusable)).unwrap_err();
        assert_eq!(error, AddressError::UnusablePassword);
    }

    let with = address().with_password(SecretBytes::copy_of(b"hunter2")).unwrap();
    assert_eq!(with.password().unwrap().expose(), b"hunter2");
    assert!(!format!("{with:?}").contains("hunter"));
    assert!(with.without_password().password().is_none());
}

#[test]
fn passwords_come_from_a_variable_or_the_password_file() {
    let url = "postgres://ana@h:1/d";
    let file = b"h:1:d:ana:from file\n";
    let machine = |variables: &[(&'static str, &str)]| {
        Machine::new(variables)
            .file("/home/ana/.pgpass", file, Readers::Owner)
            .file("/pass", b"*:*:*:*:other\n", Readers::Owner)
            .file("/public", file, Readers::Others)
            .file("/group", file, Readers::GroupOfRoot)
    };

    assert_eq!(machine(&[]).password(url), Ok(None));
    let found = |variables: &[_]| machine(variables).password(url).map(Option::unwrap);
    assert_eq!(found(&[("HOME", "/home/ana")]).unwrap(), "from file");
    assert_eq!(found(&[("HOME", "/home/ana"), ("PGPASSFILE", "/pass")]).unwrap(), "other");
    assert_eq!(found(&[("PGPASSFILE", "/pass"), ("PGPASSWORD", "first")]).unwrap(), "first");
    assert_eq!(found(&[("PGPASSFILE", "/pass"), ("PGPASSWORD", "")]).unwrap(), "other");

    assert_eq!(machine(&[("PGPASSFILE", "/no")]).password(url), Ok(None));
    for public in ["/public", "/group"] {
        let error = machine(&[("PGPASSFILE", public)]).password(url).unwrap_err();
        assert_eq!(error, AddressError::NotPrivate(public.into()));
    }
}

#[test]
fn lines_of_the_password_file_match_by_libpqs_rules() {
    let passwords = |content: &str, url: &str| {
        Machine::new(&[("PGPASSFILE", "/p")])
            .file("/p", content.as_bytes(), Readers::Owner)
            .password(url)
    };
    let url = "postgres://ana@h:1/d";

    for (content, password) in [
        ("h:1:d:ana:pw", Some("pw")),
        ("h:1:d:ana:pw\r\n", Some("pw")),
        ("\n# h:1:d:ana:no\n h:1:d:ana:no\nh:1:d:ana:pw\n", Some("pw")),
        ("#h:1:d:ana:no", None),
        ("h:1:d:bo:no\nh:2:d:ana:no\ng:1:d:ana:no\nh:1:e:ana:no\n*:*:*:*:pw", Some("pw")),
        ("*:1:*:ana:first\nh:1:d:ana:second", Some("first")),
        ("h*:1:d:ana:no", None),
        ("**:1:d:ana:no", None),
        ("h:1:d:ana", None),
        ("h:1:d:ana:", None),
        ("h:1:d:ana:\nh:1:d:ana:second", None),
        (r"\h:1:d:\a\n\a:pw", Some("pw")),
        (r"h:1:d:ana:a\:b\\c\d:rest", Some(r"a:b\cd")),
        (r"h:1:d:ana:end\", Some(r"end\")),
        ("h:1:d:ana: pw ", Some(" pw ")),
        ("h:1:d:anab:no\nh:1:d:an:no", None),
    ] {
        assert_eq!(passwords(content, url).unwrap().as_deref(), password, "{content:?}");
    }

    let colons = "postgres://a%3Ab@[::1]/d%5C";
    assert_eq!(passwords(r"\:\:1:5432:d\\:a\:b:pw", colons).unwrap().as_deref(), Some("pw"));

    let socket = "postgres://ana@%2Frun%2Fpostgresql/d";
    assert_eq!(passwords("localhost:5432:d:ana:pw", socket).unwrap().as_deref(), Some("pw"));
    assert_eq!(passwords("/run/postgresql:*:d:ana:pw", socket).unwrap().as_deref(), Some("pw"));
    let elsewhere = "postgres://ana@%2Fsrv/d";
    assert_eq!(passwords("localhost:5432:d:ana:no", elsewhere).unwrap(), None);
    assert_eq!(passwords("/srv:5432:d:ana:pw", elsewhere).unwrap().as_deref(), Some("pw"));

    let two = "postgres://ana@h,g/d";
    assert_eq!(passwords("*:*:*:*:pw", two).unwrap().as_deref(), Some("pw"));
    assert_eq!(passwords("g:*:*:*:pw", two).unwrap().as_deref(), Some("pw"));
    let error = passwords("g:*:*:*:one\nh:*:*:*:two", two).unwrap_err();
    assert_eq!(error, AddressError::DifferentPasswords("/p".into()));
}
