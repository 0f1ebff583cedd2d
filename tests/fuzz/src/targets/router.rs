//! natf-routerd: dynamic updates that pass the router (T1).

use std::net::{Ipv4Addr, SocketAddrV4};

use natf_routerd::core::{
    discovery::clean_name,
    netbios,
    registration_message::UpdateMessage,
    registration_stream::{Connections, Segment},
};

use crate::unhex;

/// Any bytes as a DNS message, and as a stream that is cut at its first byte's multiples.
pub fn registration(data: &[u8]) {
    let _ = UpdateMessage::parse(data);
    let (mut connections, mut sequence) = (Connections::default(), 100_u32);
    let connection = (SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 10), 5353), Ipv4Addr::new(192, 0, 2, 53));
    connections.take(connection, true, Segment { syn: true, sequence, payload: &[] }, |_| {});
    sequence += 1;
    let step = usize::from(data.first().copied().unwrap_or(1)).max(1);
    let mut seen = 0;
    for payload in data.chunks(step) {
        connections.take(connection, true, Segment { syn: false, sequence, payload }, |message| {
            seen += message.len() + 2;
            let _ = UpdateMessage::parse(message);
        });
        sequence = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
    }
    assert!(seen <= data.len(), "more bytes came out than went in");
}

/// An update that adds an address, alone and behind its length.
pub fn registration_seeds() -> Vec<Vec<u8>> {
    let update = unhex(
        "1234 2800 0001 0000 0001 0000 0364796e 076578616d706c65 036e6574 00 0006 0001 \
         05616c696365 c00c 0001 0001 0000003c 0004 cb007102",
    );
    let length = u16::try_from(update.len()).unwrap().to_be_bytes();
    vec![update.clone(), [&length, update.as_slice()].concat()]
}

/// Any bytes as a host's NetBIOS node status (N13), and as a name of hearsay.
pub fn netbios(data: &[u8]) {
    if let Some((id, Some(name))) = netbios::parse_answer(data) {
        assert_eq!(Some(id.to_be_bytes().as_slice()), data.get(..2));
        assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
    }
    if let Some(name) = clean_name(data) {
        assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
    }
}

/// An answer with a group's name and the host's own.
pub fn netbios_seeds() -> Vec<Vec<u8>> {
    let question = netbios::question(0x1234);
    let mut answer = unhex("1234 8400 0000 0001 0000 0000");
    answer.extend(&question[12..46]);
    answer.extend(unhex("0021 0001 00000000 0053 02"));
    answer.extend(b"WORKGROUP      \0\x84\0GAMEBOX        \0\x04\0");
    answer.extend([0; 46]);
    vec![answer, b"Anna's iPad".to_vec()]
}
