//! Standard input and output, each in a thread of its own, since nothing else may wait for them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread::Builder;

use holepunch::proto::delivery::MAX_MESSAGE;

use super::Happening;
use super::frame::DATA;

fn own(stream: &impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// How much there is to read, if standard input is a regular file.
pub fn input_len() -> Option<u64> {
    let mut input = own(&io::stdin()).ok()?;
    let metadata = input.metadata().ok().filter(|metadata| metadata.is_file())?;
    Some(metadata.len().saturating_sub(input.stream_position().ok()?))
}

/// Reads into the buffers that are given, each a message with data then; the one without any is the last.
pub fn start_reading(buffers: Receiver<Vec<u8>>, sender: SyncSender<Happening>) -> io::Result<()> {
    let mut input = own(&io::stdin())?;
    let read = move || {
        for mut buffer in buffers {
            buffer.resize(MAX_MESSAGE, 0);
            buffer[0] = DATA;
            let read = loop {
                match input.read(&mut buffer[1..]) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            let is_last = !matches!(read, Ok(1..));
            let read = read.map(|len| {
                buffer.truncate(1 + len);
                buffer
            });
            if sender.send(Happening::Read(read)).is_err() || is_last {
                break;
            }
        }
    };
    Builder::new().name("hp-stdin".into()).spawn(read).map(drop)
}

/// Writes the data of the messages that are given; closes standard output when there are no more.
pub fn start_writing(messages: Receiver<Vec<u8>>, sender: SyncSender<Happening>) -> io::Result<()> {
    let mut output = own(&io::stdout())?;
    let write = move || {
        for message in messages {
            let data = &message[1..];
            let written = output.write_all(data).map(|()| data.len());
            if sender.send(Happening::Written(written)).is_err() {
                return;
            }
        }
        drop(output);
        close_output();
    };
    Builder::new().name("hp-stdout".into()).spawn(write).map(drop)
}

/// Whoever reads from us learns that there is no more. The descriptor stays taken, or the next file would become standard output.
fn close_output() {
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        // SAFETY: both descriptors are open and ours; nobody else in this program writes to standard output.
        unsafe { libc::dup2(nowhere.as_raw_fd(), io::stdout().as_raw_fd()) };
    }
}
