//! Why a server does not take us, for people to read.

use holepunch::proto::wire::RefusedReason;

/// What the server means, behind "the server refuses us".
pub fn refusal(reason: RefusedReason) -> &'static str {
    match reason {
        RefusedReason::UnknownRegistration => "it does not know us any more",
        RefusedReason::SessionFull => "the room is full",
        RefusedReason::ServerFull => "it has no room for anybody",
        RefusedReason::PeerIdTaken => "somebody else has our ID",
        RefusedReason::DialectRefused => "it does not speak the native dialect",
    }
}
