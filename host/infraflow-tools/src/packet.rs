//! Whole messages with file descriptors over a local socket.
//!
//! Knows nothing of what the messages mean. Never blocks by itself: that is up
//! to the socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::limits::{PACKET_BYTES, PACKET_DESCRIPTORS};

/// A message that came in.
pub(crate) struct Packet {
    /// What it says.
    pub(crate) bytes: Vec<u8>,
    /// The descriptors that came with it, closed on exec.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Two ends of a new connection, both closed on exec and blocking.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message.
///
/// # Errors
/// `InvalidInput` when it is larger than [`PACKET_BYTES`] or carries more than
/// [`PACKET_DESCRIPTORS`]; what the socket says otherwise.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if bytes.is_empty()
        || bytes.len() > PACKET_BYTES.to_usize()
        || descriptors.len() > PACKET_DESCRIPTORS
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {} bytes does not fit", bytes.len()),
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Takes one message; `None` when the other end is closed.
///
/// # Errors
/// `InvalidData` for a message that was cut; what the socket says otherwise.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0_u8; PACKET_BYTES.to_usize()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    if message
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(message.bytes);
    Ok(Some(Packet { bytes, descriptors }))
}

/// A local socket on the runtime.
pub(crate) struct Socket(UnixDatagram);

impl Socket {
    /// Takes one end of a [`pair`]. Needs a runtime.
    pub(crate) fn new(end: OwnedFd) -> io::Result<Self> {
        // tokio has no type of its own for sequenced packets; this one drives
        // any local socket, and the calls on it are ours.
        let socket = std::os::unix::net::UnixDatagram::from(end);
        socket.set_nonblocking(true)?;
        Ok(Self(UnixDatagram::from_std(socket)?))
    }

    /// Waits for one message; `None` when the other end is closed. Cancel-safe.
    pub(crate) async fn receive(&self) -> io::Result<Option<Packet>> {
        let read = || receive(&self.0);
        self.0.async_io(Interest::READABLE, read).await
    }

    /// Sends one message, waiting for room. Cancel-safe: it is sent whole or
    /// not at all.
    pub(crate) async fn send(&self, bytes: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let write = || send(&self.0, bytes, &descriptors);
        self.0.async_io(Interest::WRITABLE, write).await
    }

    /// Sends one message if there is room.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<()> {
        let write = || send(&self.0, bytes, &[]);
        self.0.try_io(Interest::WRITABLE, write)
    }

    /// Waits until there may be room.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close_sending(&self) -> io::Result<()> {
        self.0.shutdown(std::net::Shutdown::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn messages_keep_their_borders_and_descriptors() {
        let (left, right) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(&left, b"one", &[writer.as_fd()]).unwrap();
        send(&left, b"two", &[]).unwrap();
        drop(writer);
        let first = receive(&right).unwrap().unwrap();
        assert_eq!(first.bytes, b"one");
        let mut sent = std::fs::File::from(first.descriptors.into_iter().next().unwrap());
        sent.write_all(b"through").unwrap();
        drop(sent);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(receive(&right).unwrap().unwrap().bytes, b"two");
        drop(left);
        assert!(receive(&right).unwrap().is_none());
    }

    #[test]
    fn the_largest_message_fits_and_one_byte_more_does_not() {
        let (left, right) = pair().unwrap();
        let largest = vec![b'x'; PACKET_BYTES.to_usize()];
        send(&left, &largest, &[]).unwrap();
        assert_eq!(receive(&right).unwrap().unwrap().bytes.len(), largest.len());
        let larger = vec![b'x'; PACKET_BYTES.to_usize() + 1];
        assert_eq!(
            send(&left, &larger, &[]).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert!(send(&left, b"", &[]).is_err());
    }
}
