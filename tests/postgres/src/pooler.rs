//! PgBouncer in front of a cluster, in the mode that gives each transaction another connection.

use std::io::PipeWriter;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::certificates::{Certificates, SERVER_CERT, SERVER_KEY};
use crate::database::APP_PASSWORD;
use crate::installation::Installation;
use crate::postmaster::{free_port, wait_for};

/// Runs the pooler until the end of the input, which is the end of the test process.
const SCRIPT: &str = r#"trap '' HUP INT; "$1" "$2" & read -r _; kill "$!""#;

/// A running PgBouncer. Clients show the certificate of the role `device`, and get connections of the
/// role `app`: three at most, so that transactions share them.
pub(crate) struct Pooler {
    port: u16,
    shell: Child,
    pipe: Option<PipeWriter>,
}

impl Pooler {
    /// Starts a pooler for the server at a port, with files in the cluster's directory.
    pub(crate) fn start(
        installation: &Installation,
        directory: &Path,
        certificates: &Certificates,
        server_port: u16,
    ) -> Self {
        let port = free_port();
        let shown = directory.display();
        let configuration = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={server_port} user=app password={APP_PASSWORD}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             pool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 500\n\
             auth_type = cert\nauth_file = {shown}/pooler.users\n\
             client_tls_sslmode = verify-full\nclient_tls_ca_file = {ca}\n\
             client_tls_cert_file = {shown}/{SERVER_CERT}\n\
             client_tls_key_file = {shown}/{SERVER_KEY}\n\
             logfile = {shown}/pooler.log\n",
            ca = certificates.ca().display(),
        );
        for (name, text) in
            [("pooler.ini", configuration), ("pooler.users", "\"device\" \"\"\n".into())]
        {
            let mut options = std::fs::OpenOptions::new();
            let path = directory.join(name);
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            installation.give(&path);
        }

        let (reader, writer) = std::io::pipe().unwrap();
        let program = if Path::new("/usr/sbin/pgbouncer").exists() {
            "/usr/sbin/pgbouncer"
        } else {
            "pgbouncer"
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "pooler", program]).arg(directory.join("pooler.ini"));
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        installation.as_owner(&mut command);

        let shell = command.current_dir("/").spawn().unwrap();
        wait_for("PgBouncer", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, shell, pipe: Some(writer) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
