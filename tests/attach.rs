//! Attaching to an engine over a forwarded socket, as `ssh -L local.sock:remote.sock` makes one: a relay stands for SSH.

// Clippy's exemption of tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use kiln_protocol::RunState;
use kiln_tests::harness::Bench;
use kiln_tests::program;
use kiln_tests::terminal::Terminal;

/// Carries bytes between a socket of its own and another one, until it is cut.
struct Relay {
    socket: PathBuf,
    carried: Arc<Mutex<Vec<UnixStream>>>,
}

impl Relay {
    fn open(socket: PathBuf, to: &Path) -> Relay {
        let listener = UnixListener::bind(&socket).unwrap();
        let carried: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
        let (held, to) = (Arc::clone(&carried), to.to_owned());
        std::thread::spawn(move || {
            for near in listener.incoming() {
                // As `ssh` does when the far side refuses: the connection is taken and closed.
                let (Ok(near), Ok(far)) = (near, UnixStream::connect(&to)) else { continue };
                held.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (mut from, mut into) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut into);
                        let _ = into.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Relay { socket, carried }
    }

    /// The line drops: all connections end, and there is nothing to connect to.
    fn cut(self) {
        std::fs::remove_file(&self.socket).unwrap();
        for stream in self.carried.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// `kiln` as on another machine: with a home of its own that has nothing.
fn kiln(folder: &Path, socket: &Path) -> Command {
    std::fs::create_dir_all(folder.join("config")).unwrap();
    std::fs::write(folder.join("config/workbench.toml"), "toured = true\n").unwrap();
    let mut command = Command::new(program("kiln"));
    command
        .arg("--socket")
        .arg(socket)
        .current_dir(folder)
        .env("KILN_HOME", folder.join("elsewhere"))
        .env("KILN_CONFIG", folder.join("config"))
        .env_remove("KILN_SHARE");
    command
}

#[test]
fn a_forwarded_socket_is_as_good_as_the_engines_own() {
    let bench = Bench::running("steps=100000,ms=5");
    let run = bench.launch("far-away");
    bench.wait_step(&run, 3);
    let relay = Relay::open(bench.folder().join("near.sock"), &bench.home.socket());
    let folder = bench.folder().join("here");
    std::fs::create_dir_all(&folder).unwrap();

    let listed = kiln(&folder, &relay.socket).arg("ls").stdin(Stdio::null()).output().unwrap();
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains(&run.0), "{listed:?}");

    let mut screen = Terminal::open(kiln(&folder, &relay.socket), 100, 30);
    screen.wait(&run.0);
    screen.press("enter");
    screen.wait("1 Curves");
    // The line drops: what is known stays on the screen, and it is said.
    let socket = relay.socket.clone();
    relay.cut();
    let text = screen.wait("no engine");
    assert!(text.contains(&run.0) && text.contains("1 Curves"), "{text}");
    // It comes back: the client has been trying, and goes on where it was.
    let relay = Relay::open(socket, &bench.home.socket());
    screen.wait_for("the machine's figures again", |text| text.contains("cpu") && !text.contains("no engine"));
    screen.press("p");
    bench.wait_state(&run, RunState::Paused);
    screen.press("q");
    assert!(screen.ended().success());
    assert!(!folder.join("elsewhere/engine.lock").exists(), "no engine was started here");
    relay.cut();

    let none = kiln(&folder, &bench.folder().join("near.sock")).arg("ls").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(4), "{said}");
    assert!(said.contains("forwarding") && said.contains("near.sock"), "{said}");
}
