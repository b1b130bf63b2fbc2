//! As much of STUN (RFC 8489) as it takes to ask any server for our own endpoint: a Binding request and its answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::codec::{Malformed, Reader, Writer};

/// RFC 8489 section 5.
const MAGIC_COOKIE: u32 = 0x2112_A442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
/// Bytes before the attributes.
pub const HEADER_LEN: usize = 20;
/// Longest answer that is looked at.
pub const MAX_ANSWER: usize = HEADER_LEN + 1180;

/// RFC 8489 sections 14.1, 14.2 and 14.8.
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

/// Names one question.
pub type Transaction = [u8; 12];

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Our endpoint as it sees it.
    Mapped(SocketAddr),
    /// No, and why: RFC 8489 section 14.8.
    Refused(u16),
}

/// The question. It carries no attributes.
pub fn request(transaction: &Transaction) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    let mut writer = Writer::new(&mut bytes);
    writer.u16(BINDING_REQUEST);
    writer.u16(0);
    writer.u32(MAGIC_COOKIE);
    writer.slice(transaction);
    bytes
}

/// How long the message is that begins like this, for where messages follow each other (RFC 8489 section 6.2.2); `None` as long as its
/// header is not whole.
pub fn message_len(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    Some(HEADER_LEN + usize::from(u16::from_be_bytes([header[2], header[3]])))
}

/// The answer to the question with this name.
pub fn parse_answer(message: &[u8], transaction: &Transaction) -> Result<Answer, Malformed> {
    let mut reader = Reader::new(message);
    let (kind, len, cookie) = (reader.u16()?, reader.u16()?, reader.u32()?);
    let named: Transaction = reader.array()?;
    if cookie != MAGIC_COOKIE || named != *transaction || usize::from(len) != reader.rest().len() {
        return Err(Malformed::Field);
    }
    let mut fallback = None;
    while !reader.rest().is_empty() {
        let (attribute, len) = (reader.u16()?, usize::from(reader.u16()?));
        let value = reader.slice(len)?;
        reader.slice(len.wrapping_neg() % 4)?;
        match (kind, attribute) {
            (BINDING_SUCCESS, XOR_MAPPED_ADDRESS) => {
                return Ok(Answer::Mapped(unmask(read_address(value)?, transaction)));
            }
            (BINDING_SUCCESS, MAPPED_ADDRESS) => fallback = Some(Answer::Mapped(read_address(value)?)),
            (BINDING_ERROR, ERROR_CODE) => {
                let mut code = Reader::new(value);
                code.u16()?;
                let (class, number) = (code.u8()? & 7, code.u8()?);
                return Ok(Answer::Refused(u16::from(class) * 100 + u16::from(number)));
            }
            _ => {}
        }
    }
    fallback.ok_or(Malformed::Field)
}

fn read_address(value: &[u8]) -> Result<SocketAddr, Malformed> {
    let mut reader = Reader::new(value);
    reader.u8()?;
    let (family, port) = (reader.u8()?, reader.u16()?);
    let ip: IpAddr = match family {
        FAMILY_IPV4 => Ipv4Addr::from(reader.array::<4>()?).into(),
        FAMILY_IPV6 => Ipv6Addr::from(reader.array::<16>()?).into(),
        _ => return Err(Malformed::Field),
    };
    Ok(SocketAddr::new(ip, port))
}

/// RFC 8489 section 14.2: NATs that change whatever looks like an address do not know this one.
fn unmask(masked: SocketAddr, transaction: &Transaction) -> SocketAddr {
    let port = masked.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let ip: IpAddr = match masked.ip() {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) ^ MAGIC_COOKIE).into(),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(transaction);
            Ipv6Addr::from(u128::from(ip) ^ u128::from_be_bytes(mask)).into()
        }
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5769 sections 2.2 and 2.3: sample answers, whose other attributes are none of ours.
    const TRANSACTION: Transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
    const SAMPLE_IPV4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
                               002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    const SAMPLE_IPV6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
                               002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn published_samples_are_understood() {
        let of = |sample| parse_answer(&bytes(sample), &TRANSACTION);
        assert_eq!(of(SAMPLE_IPV4), Ok(Answer::Mapped("192.0.2.1:32853".parse().unwrap())));
        let ipv6 = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        assert_eq!(of(SAMPLE_IPV6), Ok(Answer::Mapped(ipv6)));
        assert_eq!(message_len(&bytes(SAMPLE_IPV4)), Some(bytes(SAMPLE_IPV4).len()));
        assert_eq!(message_len(&bytes(SAMPLE_IPV4)[..19]), None);
    }

    #[test]
    fn request_is_a_header_alone() {
        assert_eq!(request(&TRANSACTION)[..], bytes("000100002112a442b7e7a701bc34d686fa87dfae"));
    }

    #[test]
    fn older_servers_and_refusals_are_understood() {
        let answer = |kind: &str, attributes: &str| {
            let len = bytes(attributes).len();
            let message = format!("{kind}{len:04x}2112a442b7e7a701bc34d686fa87dfae{attributes}");
            parse_answer(&bytes(&message), &TRANSACTION)
        };
        let old = answer("0101", "0001000800010bb8cb007107");
        assert_eq!(old, Ok(Answer::Mapped("203.0.113.7:3000".parse().unwrap())));
        assert_eq!(answer("0111", "00090006000004146e6f0000"), Ok(Answer::Refused(420)));
        // Nothing of use; an attribute that is cut short; another family; a request.
        for (kind, attributes) in
            [("0101", ""), ("0101", "00200008000100"), ("0101", "002000080003000000000000"), ("0001", "")]
        {
            assert!(answer(kind, attributes).is_err(), "{attributes}");
        }
    }

    #[test]
    fn answers_to_other_questions_are_none() {
        assert!(parse_answer(&bytes(SAMPLE_IPV4), &[0; 12]).is_err());
        for len in 0..bytes(SAMPLE_IPV4).len() {
            assert!(parse_answer(&bytes(SAMPLE_IPV4)[..len], &TRANSACTION).is_err(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(mut noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_answer(&noise, &TRANSACTION);
            let mut message = bytes(SAMPLE_IPV6);
            let len = noise.len().min(message.len());
            noise.truncate(len);
            for (byte, noise) in message.iter_mut().zip(noise) {
                *byte ^= noise & 1;
            }
            let _ = parse_answer(&message, &TRANSACTION);
        }
    }
}
