//! Addresses, and the settings of URLs, variables and files.

mod certificates;
mod passwords;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Files in memory, and the variables that are set.
#[derive(Default)]
struct Machine {
    files: RefCell<HashMap<PathBuf, (Vec<u8>, Readers)>>,
    variables: HashMap<&'static str, String>,
}

impl Machine {
    fn new(variables: &[(&'static str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Self { variables: variables.collect(), ..Self::default() }
    }

    fn file(self, path: &str, content: &[u8], readers: Readers) -> Self {
        self.files.borrow_mut().insert(path.into(), (content.to_vec(), readers));
        self
    }

    fn parse(&self, url: &str) -> Result<Address, AddressError> {
        Address::parse(url, self, &|name| self.variables.get(name).cloned())
    }

    fn error(&self, url: &str) -> String {
        self.parse(url).unwrap_err().to_string()
    }

    fn password(&self, url: &str) -> Result<Option<String>, AddressError> {
        let address = self.parse(url).unwrap();
        let found = address.password_from(self, &|name| self.variables.get(name).cloned())?;
        Ok(found.map(|password| String::from_utf8(password.expose().to_vec()).unwrap()))
    }
}

impl Files for Machine {
    fn read(&self, path: &Path, limit: usize) -> io::Result<Option<FileContent>> {
        match self.files.borrow().get(path) {
            Some((content, _)) if content.len() > limit => Err(io::ErrorKind::FileTooLarge.into()),
            Some((content, readers)) => {
                Ok(Some(FileContent { bytes: SecretBytes::copy_of(content), readers: *readers }))
            }
            None => Ok(None),
        }
    }
}

/// Returns a certificate and its key.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["ana".to_owned()]).unwrap().self_signed(&key);
    (certificate.unwrap().pem().into_bytes(), key.serialize_pem().into_bytes())
}

fn plain() -> Machine {
    Machine::new(&[])
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    for (url, displayed) in [
        ("postgres://ana@db.example/secrets", "postgres://ana@db.example/secrets"),
        ("postgresql://ana@db.example:5432/secrets", "postgres://ana@db.example/secrets"),
        ("postgres://ana@db.example", "postgres://ana@db.example/ana"),
        ("postgres://ana@db.example/", "postgres://ana@db.example/ana"),
        ("postgres://ana@db.example?dbname=x", "postgres://ana@db.example/x"),
        ("postgres://ana@a:1,b,c:3/d", "postgres://ana@a:1,b,c:3/d"),
        ("postgres://ana@a,b/d?port=7", "postgres://ana@a:7,b:7/d"),
        ("postgres://ana@[::1]/d", "postgres://ana@[::1]/d"),
        ("postgres://ana@[::1]:77,[2001:DB8::2]/d", "postgres://ana@[::1]:77,[2001:db8::2]/d"),
        ("postgres://ana@%31%30.0.0.1:%35/d", "postgres://ana@10.0.0.1:5/d"),
        ("postgres://a%40b%2fc@db/d%20e", "postgres://a%40b%2Fc@db/d%20e"),
        ("postgres://%C3%A9@db/+", "postgres://%C3%A9@db/%2B"),
        ("postgres://ana@%2Frun%2Fpostgresql/d", "postgres://ana@%2Frun%2Fpostgresql/d"),
        ("postgres://ana@/d?host=/run/pg&port=7", "postgres://ana@%2Frun%2Fpg:7/d"),
        ("postgres:///d?host=/s,db&user=bo", "postgres://bo@%2Fs,db/d"),
        ("postgres://ana@x/d?host=y", "postgres://ana@y/d"),
        ("postgres://ana@x/d?h%6fst=y", "postgres://ana@y/d"),
        ("postgres://ana@x/d?sslmode=verify-full", "postgres://ana@x/d"),
        ("postgres://ana@x/d?sslmode=disable", "postgres://ana@x/d?sslmode=disable"),
        ("postgres://ana@%2Fs/d?sslmode=disable", "postgres://ana@%2Fs/d"),
        ("postgres://ana@x/d?connect_timeout=3&", "postgres://ana@x/d?connect_timeout=3"),
        ("postgres://ana@x/d?target_session_attrs=read-write", "postgres://ana@x/d"),
        ("postgres://ana@x/d?channel_binding=require", "postgres://ana@x/d"),
        ("postgres://ana@%2Fs/d?channel_binding=prefer", "postgres://ana@%2Fs/d"),
        ("postgres://ana:@x/d", "postgres://ana@x/d"),
        ("postgres://ana@my_db.internal./d", "postgres://ana@my_db.internal./d"),
    ] {
        let address = plain().parse(url).unwrap();
        assert_eq!(address.display(), displayed, "{url}");
        assert_eq!(plain().parse(displayed).unwrap().display(), displayed);
    }
}

#[test]
fn the_parts_of_an_address_are_decoded() {
    let address = plain().parse("postgres://a%40b@h:1,[::1],%2Fs/d%2Fe").unwrap();
    assert_eq!((address.user(), address.database()), ("a@b", "d/e"));
    assert_eq!(address.connect_timeout(), Duration::from_secs(10));
    assert!(address.password().is_none());
    assert!(matches!(address.transport(), Transport::Tls { roots: Roots::System, client: None }));

    let hosts: Vec<_> = address.hosts().iter().map(|host| (host.name(), host.port())).collect();
    assert_eq!(hosts, [("h", 1), ("::1", 5432), ("/s", 5432)]);
    let shown: Vec<_> = address.hosts().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["h:1", "[::1]:5432", "/s/.s.PGSQL.5432"]);

    let is_plain = |url: &str| matches!(plain().parse(url).unwrap().transport(), Transport::Plain);
    assert!(is_plain("postgres://ana@%2Fs/d"));
    assert!(is_plain("postgres://ana@%2Fs/d?sslmode=verify-full"));
    assert!(is_plain("postgres://ana@h/d?sslmode=disable"));
    assert!(!is_plain("postgres://ana@%2Fs,h/d"));
}

#[test]
fn bad_urls_are_refused() {
    let many = format!("postgres://ana@{}h/d", "h,".repeat(16));
    let long = format!("postgres://ana@h/{}", "d".repeat(8192));
    for (url, error) in [
        ("mysql://ana@h/d", AddressError::Scheme),
        ("ana@h/d", AddressError::Scheme),
        (&long, AddressError::TooLong),
        ("postgres://ana@h/%4", AddressError::Percent),
        ("postgres://ana@h/%+4", AddressError::Percent),
        ("postgres://ana@h/%é", AddressError::Percent),
        ("postgres://ana@h/%ff", AddressError::NotUtf8),
        ("postgres://ana@h/a%00", AddressError::Control(None)),
        ("postgres://ana@h/a%0a", AddressError::Control(None)),
        ("postgres://a\x1bna@h/a", AddressError::Control(None)),
        ("postgres://ana@h/%C2%85", AddressError::Control(None)),
        ("postgres://ana@/d", AddressError::NoHost),
        ("postgres://ana@", AddressError::NoHost),
        ("postgres://ana@,/d", AddressError::NoHost),
        ("postgres://ana@a,,b/d", AddressError::EmptyHost),
        ("postgres://ana@a,/d", AddressError::EmptyHost),
        ("postgres://ana@:5432,b/d", AddressError::EmptyHost),
        (&many, AddressError::TooManyHosts),
        ("postgres://ana@a%20b/d", AddressError::Host),
        ("postgres://ana@../d", AddressError::Host),
        ("postgres://ana@relative%2Fpath/d", AddressError::Host),
        ("postgres://ana@@h/d", AddressError::Host),
        ("postgres://ana@1.2.3/d", AddressError::Host),
        ("postgres://ana@[::1/d", AddressError::Bracket),
        ("postgres://ana@[]/d", AddressError::Bracket),
        ("postgres://ana@[::1]x/d", AddressError::Bracket),
        ("postgres://ana@h:0/d", AddressError::Port),
        ("postgres://ana@h:65536/d", AddressError::Port),
        ("postgres://ana@h:+1/d", AddressError::Port),
        ("postgres://ana@h:-1/d", AddressError::Port),
        ("postgres://ana@::1/d", AddressError::NoHost),
        ("postgres://ana@2001:db8::1/d", AddressError::Port),
        ("postgres://ana@a,b,c/d?port=1,2", AddressError::Ports { ports: 2, hosts: 3 }),
        ("postgres://ana@a/d?port=1,2", AddressError::Ports { ports: 2, hosts: 1 }),
        ("postgres://h/d", AddressError::NoUser),
        ("postgres://ana@h/d?sslmode", AddressError::Pair),
        ("postgres://ana@h/d?sslmode=a=b", AddressError::Pair),
        ("postgres://ana@h/d?&", AddressError::Pair),
        ("postgres://ana@h/d?options=-c", AddressError::Parameter(Some("options"))),
        ("postgres://ana@h/d?secret=x", AddressError::Parameter(None)),
        ("postgres://ana@h/d?=x", AddressError::Parameter(None)),
        ("postgres://ana@h/d?target_session_attrs=any", AddressError::SessionAttributes),
        ("postgres://ana@h/d?channel_binding=disable", AddressError::ChannelBinding),
        (
            "postgres://ana@h/d?sslmode=disable&channel_binding=require",
            AddressError::BindingWithoutTls,
        ),
        ("postgres://ana@%2Fs/d?channel_binding=require", AddressError::BindingWithoutTls),
    ] {
        assert_eq!(plain().parse(url).unwrap_err(), error, "{url}");
    }

    for seconds in ["0", "601", "-1", "x", "+3"] {
        let error = plain().error(&format!("postgres://ana@h/d?connect_timeout={seconds}"));
        assert_eq!(error, "`connect_timeout` is not a number of seconds from 1 to 600");
    }

    for mode in ["verify-ca", "require", "prefer", "allow"] {
        let error = plain().error(&format!("postgres://ana@h/d?sslmode={mode}"));
        assert!(error.starts_with(&format!("`sslmode={mode}` ")), "{error}");
    }
    let error = plain().error("postgres://ana@h/d?sslmode=x");
    assert_eq!(error, "`sslmode` is not `verify-full` or `disable`");
}

#[test]
fn a_password_is_refused_and_not_repeated() {
    for url in [
        "postgres://ana:hunter2@h/d",
        "postgres://ana:hun?ter2@h/d",
        "postgres://:hunter2@h/d",
        "postgres://ana@h/d?password=hunter2",
        "postgres://ana@h/d?pass%77ord=hunter2",
        "postgres://ana@h/d?password=",
    ] {
        assert_eq!(plain().parse(url).unwrap_err(), AddressError::Password, "{url}");
    }

    // A `/` that should have been written as `%2F` makes the user a host and the password a port.
    for url in [
        "postgres://ana:hunter2/@h/d",
        "postgres://ana:1/hunter2@h/d",
        "postgres://ana:1/x?hunter2@h/d",
        "postgres://ana:1/x?hunter2=@h/d",
        "postgres://ana@h/d?hunter2=x",
    ] {
        let error = plain().error(url);
        assert!(!error.contains("hunter"), "{error}");
    }
}

#[test]
fn variables_fill_what_the_url_leaves_out() {
    let set = Machine::new(&[
        ("PGHOST", "a,b"),
        ("PGPORT", "7"),
        ("PGUSER", "bo"),
        ("PGDATABASE", "x"),
        ("USER", "cy"),
        ("PGSSLMODE", "disable"),
    ]);
    assert_eq!(set.parse("postgres://").unwrap().display(), "postgres://bo@a:7,b:7/x");
    assert_eq!(set.parse("postgres://ana@h/d").unwrap().display(), "postgres://ana@h:7/d");
    assert_eq!(set.parse("postgres://h:5/d").unwrap().display(), "postgres://bo@h:5/d");

    let login = Machine::new(&[("PGUSER", ""), ("LOGNAME", "dee")]);
    assert_eq!(login.parse("postgres://h").unwrap().display(), "postgres://dee@h/dee");

    let hostile = Machine::new(&[("PGUSER", "a\nb")]);
    assert_eq!(hostile.error("postgres://h"), "the variable `PGUSER` contains a control character");
}

#[test]
fn an_address_is_stored_and_read_again() {
    let (chain, key) = certificate();
    let machine =
        Machine::new(&[]).file("/ca", &chain, Readers::Others).file("/key", &key, Readers::Owner);

    for url in [
        "postgres://ana@h/d",
        "postgres://ana@h:1,[::1],%2Fs:9/d?connect_timeout=600",
        "postgres://ana@h/d?sslmode=disable",
        "postgres://ana@h/d?sslrootcert=/ca",
        "postgres://ana@h/d?sslrootcert=/ca&sslcert=/ca&sslkey=/key",
        "postgres://ana@h/d?sslcert=/ca&sslkey=/key",
    ] {
        let address = machine.parse(url).unwrap();
        let password = SecretBytes::copy_of("pässword".as_bytes());
        let with_password = machine.parse(url).unwrap().with_password(password).unwrap();

        for address in [address, with_password] {
            let bytes = address.encode();
            let bytes = bytes.expose();
            let read = Address::decode(bytes).unwrap();
            assert_eq!(read.encode().expose(), bytes);
            assert_eq!(read.display(), address.display());
            let exposed = |address: &Address| address.password().map(|p| p.expose().to_vec());
            assert_eq!(exposed(&read), exposed(&address));

            for length in 0..bytes.len() {
                assert!(Address::decode(&bytes[..length]).is_none());
            }
            assert!(Address::decode(&[bytes, b"\0"].concat()).is_none());
            assert!(Address::decode(&[b"\x02", &bytes[1..]].concat()).is_none());
        }
    }
}

#[test]
fn what_is_stored_is_checked_again() {
    let valid = || plain().parse("postgres://ana@h/d").unwrap();
    let decoded = |address: Address| Address::decode(address.encode().expose()).is_some();
    let host = |name: &str, port| Host { name: name.to_owned(), port };
    assert!(decoded(valid()));
    assert!(!decoded(Address { hosts: vec![], ..valid() }));
    assert!(!decoded(Address { hosts: vec![host("h", 1); 17], ..valid() }));
    assert!(!decoded(Address { hosts: vec![host("h", 0)], ..valid() }));
    assert!(!decoded(Address { hosts: vec![host("a\nb", 1)], ..valid() }));
    assert!(decoded(Address { hosts: vec![host("::1", 1)], ..valid() }));
    assert!(!decoded(Address { hosts: vec![host("0::1", 1)], ..valid() }));
    assert!(!decoded(Address { hosts: vec![host("/run/a,b", 1)], ..valid() }));
    assert!(!decoded(Address { user: String::new(), ..valid() }));
    assert!(!decoded(Address { database: "\x1b".to_owned(), ..valid() }));
    assert!(!decoded(Address { connect_timeout: Duration::ZERO, ..valid() }));
    assert!(!decoded(Address { connect_timeout: Duration::from_secs(601), ..valid() }));
    assert!(!decoded(Address { password: Some(SecretBytes::zeroed(3)), ..valid() }));
    let roots = Roots::Pem(vec![b'x'; MAX_PEM + 1]);
    assert!(!decoded(Address { transport: Transport::Tls { roots, client: None }, ..valid() }));
    assert!(Address::decode(&[0xff; 64]).is_none());
    assert!(Address::decode(&vec![1; MAX_ENCODED + 1]).is_none());
}
