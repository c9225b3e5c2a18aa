//! Rows of the scan listing and the unique-id listing (RFC 1939 §5, LIST; §7, UIDL).
//!
//! A large maildrop has a hundred thousand of them at each poll, so they do without `format!`.

use crate::ids::{MessageNumber, Octets};

/// A message's number and its size.
pub fn scan_row(number: MessageNumber, size: Octets, output: &mut Vec<u8>) {
    row(number, |output| decimal(size.0, output), output);
}

/// A message's number and what `unique_id` writes.
pub fn unique_id_row(number: MessageNumber, unique_id: impl FnOnce(&mut Vec<u8>), output: &mut Vec<u8>) {
    row(number, unique_id, output);
}

fn row(number: MessageNumber, rest: impl FnOnce(&mut Vec<u8>), output: &mut Vec<u8>) {
    decimal(number.get(), output);
    output.push(b' ');
    rest(output);
    output.extend_from_slice(b"\r\n");
}

fn decimal(number: impl itoa::Integer, output: &mut Vec<u8>) {
    output.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_columns_and_a_line_end() {
        let mut output = Vec::new();
        for index in [0, u32::MAX as usize - 1] {
            let number = MessageNumber::from_index(index).expect("small enough");
            scan_row(number, Octets(u64::MAX), &mut output);
            unique_id_row(number, |output| output.extend_from_slice(b"x"), &mut output);
        }
        let expected = "1 18446744073709551615\r\n1 x\r\n\
                        4294967295 18446744073709551615\r\n4294967295 x\r\n";
        assert_eq!(String::from_utf8_lossy(&output), expected);
    }
}
