//! Compiles and runs the C programs, within bounds of time, and leaves nothing behind.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest that a tool may take.
const TOOL_LIMIT: Duration = Duration::from_secs(100);
/// What the programs are compiled with.
const FLAGS: [&str; 8] =
    ["-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic", "-Werror", "-g", "-O1", "-pthread"];
const SANITIZERS: [&str; 3] =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"];

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With the shared library.
    Plain,
    /// With the static library, under gcc's sanitizers for addresses, leaks and undefined behaviour.
    Sanitized,
    /// As `Plain`, under valgrind's memcheck. Nothing is suppressed.
    Valgrind,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Sanitized, Self::Valgrind];
}

/// Which library a program is linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Shared,
    /// With the sanitizers.
    Static,
}

/// The package's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A library that cargo has built for this test.
pub fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join(name)
}

/// Which of the tools is missing, in words; `None` if all are there.
pub fn missing(tools: &[&str]) -> Option<String> {
    let runs = |tool: &&str| {
        let mut command = Command::new(tool);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let tool = tools.iter().find(|tool| !runs(tool))?;
    Some(format!("{tool} is missing"))
}

/// Fails if a tool is missing, unless that is allowed; then says so and returns `false`.
pub fn tools_are_there(tools: &[&str]) -> bool {
    skip_or_fail(missing(tools))
}

fn skip_or_fail(missing: Option<String>) -> bool {
    let Some(why) = missing else { return true };
    let allowed = std::env::var("HP_ALLOW_MISSING_TOOLS").is_ok_and(|value| value == "1");
    assert!(allowed, "{why}; install it, or set HP_ALLOW_MISSING_TOOLS=1 to skip what needs it");
    println!("skipped: {why}");
    false
}

/// What a tool prints.
pub fn output<'a>(tool: &str, arguments: impl IntoIterator<Item = &'a OsStr>) -> String {
    let mut command = Command::new(tool);
    command.args(arguments);
    start(command).succeed(TOOL_LIMIT).stdout
}

/// Keeps a program on one processor, so that its threads run one at a time.
pub fn pin_to_one_processor(command: &mut Command) {
    // SAFETY: only system calls, on local variables, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let size = size_of::<libc::cpu_set_t>();
            let (mut allowed, mut one): (libc::cpu_set_t, libc::cpu_set_t) = std::mem::zeroed();
            if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let first = (0..libc::CPU_SETSIZE as usize).find(|cpu| libc::CPU_ISSET(*cpu, &allowed));
            libc::CPU_SET(first.unwrap_or_default(), &mut one);
            match libc::sched_setaffinity(0, size, &raw const one) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// A directory of its own for what is built; removed when dropped.
pub struct Workshop {
    directory: PathBuf,
}

impl Workshop {
    pub fn open() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hp-c-abi-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let workshop = Self { directory };
        // The linker looks for the one, the loader for the other.
        for name in ["libholepunch.so", "libholepunch.so.1"] {
            std::os::unix::fs::symlink(beside("libholepunch.so"), workshop.path(name)).unwrap();
        }
        workshop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A compiler with everything but sources and libraries.
    pub fn compiler(&self, compiler: &str, standard: &str) -> Command {
        let mut command = Command::new(compiler);
        command.arg(format!("-std={standard}")).args(FLAGS).arg("-I").arg(root().join("include"));
        command
    }

    /// Compiles what the command names, with the library, and returns the program.
    pub fn link(&self, mut command: Command, name: &str, link: Link) -> PathBuf {
        let program = self.path(name);
        command.arg("-o").arg(&program);
        match link {
            Link::Shared => {
                let rpath = format!("-Wl,-rpath,{}", self.directory.display());
                command.arg("-L").arg(&self.directory).args(["-lholepunch", &rpath]);
            }
            Link::Static => {
                command.args(SANITIZERS).arg(beside("libholepunch.a")).args(["-lpthread", "-ldl", "-lm"]);
            }
        }
        start(command).succeed(TOOL_LIMIT);
        program
    }

    /// A program of `tests/c`, to be run in a certain way; built unless it is there. `None` if tools are missing.
    pub fn command(&self, name: &str, way: Way) -> Option<Command> {
        let (tools, link, built) = match way {
            Way::Plain => (&["gcc"][..], Link::Shared, name.to_owned()),
            Way::Sanitized => (&["gcc"][..], Link::Static, format!("{name}-sanitized")),
            Way::Valgrind => (&["gcc", "valgrind"][..], Link::Shared, name.to_owned()),
        };
        if !tools_are_there(tools) || (way == Way::Sanitized && !self.sanitizers_are_there()) {
            return None;
        }
        let mut program = self.path(&built);
        if !program.exists() {
            let mut compiler = self.compiler("gcc", "c99");
            compiler.arg(root().join(format!("tests/c/{name}.c")));
            program = self.link(compiler, &built, link);
        }
        if way != Way::Valgrind {
            return Some(self.run(&program));
        }
        let mut command = self.run(Path::new("valgrind"));
        // Its threads take turns; without fairness one of them may wait for seconds.
        command.args(["-q", "--fair-sched=try", "--leak-check=full", "--error-exitcode=9"]).arg(program);
        Some(command)
    }

    /// Runs a program in an environment that does not depend on who runs the tests.
    pub fn run(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD").env("RUST_BACKTRACE", "0");
        command.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
        command.env_remove("LSAN_OPTIONS").env("UBSAN_OPTIONS", "print_stacktrace=1");
        command
    }

    /// They are packages of their own on some systems.
    fn sanitizers_are_there(&self) -> bool {
        let source = self.path("nothing.c");
        std::fs::write(&source, "int main(void)\n{\n    return 0;\n}\n").unwrap();
        let mut command = Command::new("gcc");
        command.args(SANITIZERS).arg(source).arg("-o").arg(self.path("nothing"));
        let linked = start(command).finish(TOOL_LIMIT).status.success();
        skip_or_fail((!linked).then(|| "gcc's libasan or libubsan is missing".to_owned()))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A program that ended.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A program that runs. It is killed, with all that it has started, when this is dropped.
pub struct Running {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stdout: String,
    stderr: Option<JoinHandle<String>>,
}

/// Starts a program.
pub fn start(mut command: Command) -> Running {
    let what = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: one system call without pointers between fork and exec.
    unsafe {
        command.pre_exec(|| {
            // Should this test be killed, so is the program.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (sender, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    std::thread::spawn(move || {
        for line in stdout.split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    let mut stderr = child.stderr.take().expect("it is piped");
    let stderr = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let stdin = child.stdin.take();
    Running { what, child, stdin, lines, stdout: String::new(), stderr: Some(stderr) }
}

impl Running {
    /// Waits until the program has printed a line that contains this, and returns the line.
    pub fn await_line(&mut self, expected: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.stdout += &format!("{line}\n");
            if line.contains(expected) {
                return line;
            }
        }
        self.kill();
        let stderr = self.collect_stderr();
        panic!("{}: no {expected:?}\n{}{stderr}", self.what, self.stdout);
    }

    /// Writes to the program's input.
    pub fn write(&mut self, text: &str) {
        self.stdin.as_ref().expect("its input has not ended").write_all(text.as_bytes()).unwrap();
    }

    /// Sends the program a signal.
    pub fn signal(&mut self, signal: libc::c_int) {
        if let Ok(None) = self.child.try_wait() {
            // SAFETY: it has not been waited for, so the number is still its own.
            unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        }
    }

    /// Waits until the program has ended its output, which it does by ending, without ending its input.
    pub fn await_end(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => self.stdout += &format!("{line}\n"),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.give_up(limit),
            }
        }
    }

    /// Ends the program's input and waits until it has ended.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let end = Instant::now() + limit;
        drop(self.stdin.take());
        // The end of its output comes first, as a rule; either is bounded.
        self.await_end(limit);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() >= end => self.give_up(limit),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let stderr = self.collect_stderr();
        Finished { status, stdout: std::mem::take(&mut self.stdout), stderr }
    }

    /// As `finish`; fails unless the program succeeded.
    pub fn succeed(self, limit: Duration) -> Finished {
        let what = self.what.clone();
        let finished = self.finish(limit);
        let Finished { status, stdout, stderr } = &finished;
        assert!(status.success(), "{what}: {status}\n{stdout}{stderr}");
        finished
    }

    fn give_up(&mut self, limit: Duration) -> ! {
        self.kill();
        let stderr = self.collect_stderr();
        panic!("{}: not done after {limit:?}\n{}{stderr}", self.what, self.stdout);
    }

    fn collect_stderr(&mut self) -> String {
        self.stderr.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
    }

    /// Kills the program's process group and collects the program itself.
    fn kill(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // SAFETY: the group's leader has not been waited for, so the number is still its own.
            unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
