//! Certificates, and the files with them.

use super::*;

#[test]
fn certificates_are_read_and_checked() {
    let (authority, _) = certificate();
    let (chain, key) = certificate();
    let url = "postgres://ana@h/d";
    let home = Machine::new(&[("HOME", "/home/ana")])
        .file("/home/ana/.postgresql/root.crt", &authority, Readers::Others)
        .file("/home/ana/.postgresql/postgresql.crt", &chain, Readers::Others)
        .file("/home/ana/.postgresql/postgresql.key", &key, Readers::Owner)
        .file("/own.crt", &chain, Readers::Others)
        .file("/own.key", &key, Readers::GroupOfRoot)
        .file("/public.key", &key, Readers::Others)
        .file("/large", &vec![b'-'; MAX_PEM + 1], Readers::Others)
        .file("/empty", b"", Readers::Owner)
        .file("/encrypted", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n-", Readers::Owner)
        .file("/other.key", &certificate().1, Readers::Owner);

    let of = |query: &str| match home.parse(&format!("{url}{query}")).unwrap().transport {
        Transport::Tls { roots, client } => (roots, client.map(|c| (c.chain, c.key))),
        Transport::Plain => unreachable!(),
    };

    let (roots, client) = of("");
    assert_eq!(roots, Roots::Pem(authority.clone()));
    let (found, found_key) = client.unwrap();
    assert_eq!((found, found_key.expose()), (chain.clone(), key.as_slice()));

    assert_eq!(of("?sslrootcert=system").0, Roots::System);
    assert_eq!(of("?sslrootcert=/own.crt").0, Roots::Pem(chain.clone()));
    assert!(of("?sslcert=/own.crt&sslkey=/own.key").1.is_some());
    assert!(of("?sslcert=/own.crt").1.is_some(), "the key has its default");

    for (query, error) in [
        ("?sslrootcert=/no", "`/no` does not exist or is not a regular file"),
        ("?sslrootcert=/empty", "`/empty` contains no valid certificate in PEM format"),
        ("?sslrootcert=/large", "`/large` is larger than 32 KiB"),
        (
            "?sslkey=/public.key",
            "other users can read `/public.key`; make it private with `chmod 600`",
        ),
        ("?sslkey=/empty", "`/empty` contains no valid private key in PEM format"),
        ("?sslcert=/empty", "`/empty` contains no valid certificate in PEM format"),
        (
            "?sslcert=/own.crt&sslkey=/other.key",
            "the key in `/other.key` does not belong to the certificate in `/own.crt`",
        ),
    ] {
        assert_eq!(home.error(&format!("{url}{query}")), error);
    }

    let error = home.error(&format!("{url}?sslkey=/encrypted"));
    assert!(error.starts_with("the key in `/encrypted` is encrypted with a passphrase"), "{error}");

    let by_variable =
        Machine::new(&[("PGSSLROOTCERT", "/ca")]).file("/ca", &chain, Readers::Others);
    let address = by_variable.parse(url).unwrap();
    assert!(matches!(address.transport, Transport::Tls { roots: Roots::Pem(_), client: None }));

    let half = Machine::new(&[("HOME", "/h")]).file(
        "/h/.postgresql/postgresql.crt",
        &chain,
        Readers::Owner,
    );
    assert!(matches!(half.parse(url).unwrap().transport, Transport::Tls { client: None, .. }));
    assert_eq!(
        plain().error(&format!("{url}?sslcert=/own.crt")),
        "`/own.crt` does not exist or is not a regular file"
    );
}

#[test]
fn certificates_are_bounded_in_total() {
    let (authority, _) = certificate();
    let (chain, key) = certificate();
    let padded = |pem: &[u8]| [pem, &vec![b'\n'; MAX_PEM - pem.len()]].concat();
    let machine = Machine::new(&[])
        .file("/ca", &padded(&authority), Readers::Others)
        .file("/crt", &padded(&chain), Readers::Others)
        .file("/key", &key, Readers::Owner);

    assert!(machine.parse("postgres://ana@h/d?sslrootcert=/ca").is_ok());
    let error = machine.error("postgres://ana@h/d?sslrootcert=/ca&sslcert=/crt&sslkey=/key");
    assert_eq!(error, "the certificates and the key are larger than 64 KiB in total");
}

#[test]
fn the_readers_of_real_files_are_seen() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"content").unwrap();

    let read = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        SystemFiles.read(&path, 7).unwrap().unwrap()
    };
    assert_eq!(read(0o600).readers, Readers::Owner);
    assert_eq!(read(0o600).bytes.expose(), b"content");
    assert_eq!(read(0o604).readers, Readers::Others);
    assert_eq!(read(0o660).readers, Readers::Others);

    let error = SystemFiles.read(&path, 6).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    assert!(SystemFiles.read(directory.path(), 9).unwrap().is_none());
    assert!(SystemFiles.read(&path.join("below"), 9).unwrap().is_none());
    assert!(SystemFiles.read(Path::new("/dev/null"), 9).unwrap().is_none());
}
