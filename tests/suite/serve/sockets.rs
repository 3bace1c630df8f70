//! The addresses at which `serve` listens.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};

use super::{Response, SECRETS, Server, address_of, request, spawn};
use crate::support::Sandbox;

#[test]
fn it_listens_on_a_socket() {
    let server = Server::start(&[]);
    let path = server.sandbox.path("api.sock");
    let option = format!("unix:{}", path.display());
    drop(UnixListener::bind(&path).unwrap()); // left by a server that was killed
    let (mut child, url) = spawn(&server.sandbox, &["--listen", &option]);
    assert_eq!(url, option);
    let mode = std::fs::metadata(&path).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    let mut stream = UnixStream::connect(&path).unwrap();
    let request = request(0, &server.read, "GET", SECRETS, "").replace("localhost:0", "localhost");
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(Response::read(stream).unwrap().json()["total"], 2);

    // Nobody takes an address over at which another one listens.
    let run = server.sandbox.run(["serve", "--listen", &option]).fails_with(1).stdout("");
    run.stderr_has("another process listens there");
    let port = format!("127.0.0.1:{}", server.port);
    let run = server.sandbox.run(["serve", "--listen", &port]).fails_with(1).stdout("");
    run.stderr_has("another process listens there");

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait().unwrap();
    assert!(!path.exists());
    for wrong in ["0.0.0.0:7718", "192.168.0.1:1", "example.com:80", "unix:", "7718"] {
        let run = server.sandbox.run(["serve", "--listen", wrong]).fails_with(2).stdout("");
        run.stderr_has("--listen");
    }
}

/// Passes a socket as systemd does (sd_listen_fds(3)).
#[test]
fn a_socket_of_the_service_manager_is_used() {
    let sandbox = Sandbox::with_secrets(&[("a", "b")]);
    let pass = |listener: &dyn AsRawFd, count: u8| {
        let script = format!(
            "exec 3<&{}; LISTEN_FDS={count} LISTEN_PID=$$ exec {} serve",
            listener.as_raw_fd(),
            env!("CARGO_BIN_EXE_secrets")
        );
        let mut command: Command = sandbox.program("bash");
        command.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };

    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(sandbox.path("passed.sock")).unwrap();
    fcntl_setfd(&tcp, FdFlags::empty()).unwrap();
    fcntl_setfd(&unix, FdFlags::empty()).unwrap();
    let (mut child, url) = address_of(pass(&tcp, 1));
    assert_eq!(url, format!("http://{}", tcp.local_addr().unwrap()));
    let port = tcp.local_addr().unwrap().port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request(port, "", "GET", SECRETS, "").as_bytes()).unwrap();
    Response::read(stream).unwrap().fails(401, "FORBIDDEN");
    child.kill().unwrap();
    child.wait().unwrap();

    let (mut child, url) = address_of(pass(&unix, 1));
    assert_eq!(url, format!("unix:{}", sandbox.path("passed.sock").display()));
    child.kill().unwrap();
    child.wait().unwrap();

    let open = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    fcntl_setfd(&open, FdFlags::empty()).unwrap();
    for (listener, count, why) in [
        (&open as &dyn AsRawFd, 1, "other machines can reach it"),
        (&tcp, 2, "there are 2 sockets"),
    ] {
        let output = pass(listener, count).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(why), "{text}");
    }
}
