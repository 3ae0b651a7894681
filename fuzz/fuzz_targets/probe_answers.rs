//! Whatever a component answers to a probe: it is read within its bound, and only what says so is good.

#![no_main]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::health::{Expected, Sample, Serving, Verdict, Why};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    ranges: Vec<(u16, u16)>,
    status: u16,
    longest: u8,
    body: Option<&'a [u8]>,
    message: &'a [u8],
}

fuzz_target!(|case: Case<'_>| {
    health_protocol(case.message);
    http(&case);
});

/// The longest message that is read.
const LONGEST: usize = 1_024;

fn health_protocol(message: &[u8]) {
    let read = Serving::decode(message);
    let fields = (message.len() <= LONGEST)
        .then(|| fields(message))
        .flatten();
    let status = fields.map(|fields| {
        let of_status = |(field, kind, _): &(u64, u64, u64)| *field == 1 && *kind == 0;
        let last = fields.into_iter().filter(of_status).next_back();
        last.map_or(0, |(_, _, value)| value)
    });
    assert_eq!(
        read,
        status.map(|status| match status {
            1 => Serving::Serving,
            2 => Serving::NotServing,
            3 => Serving::ServiceUnknown,
            _ => Serving::Unknown,
        })
    );
    let is_up = read.is_some_and(|read| read.sample().verdict() == Verdict::Up);
    assert_eq!(is_up, status == Some(1));
    if let Some(read) = read {
        assert_eq!(Serving::decode(&read.encode()), Some(read));
    }
    // What asks is read by the same rules, and is text.
    let asked = Serving::decode_request(message);
    assert!(asked.is_none() || status.is_some());
    if let Some(asked) = asked {
        assert_eq!(
            Serving::decode_request(&Serving::encode_request(asked)),
            Some(asked)
        );
    }
}

/// Field, wire type and value of each field, the value of texts as their length: the grammar, once more and slowly.
fn fields(message: &[u8]) -> Option<Vec<(u64, u64, u64)>> {
    let mut at = 0;
    let mut fields = Vec::new();
    while at < message.len() {
        let tag = varint(message, &mut at)?;
        let (field, kind) = (tag / 8, tag % 8);
        if !(1..=536_870_911).contains(&field) {
            return None;
        }
        let value = match kind {
            0 => varint(message, &mut at)?,
            1 => skip(message, &mut at, 8)?,
            2 => {
                let length = varint(message, &mut at)?;
                skip(message, &mut at, length)?
            }
            5 => skip(message, &mut at, 4)?,
            _ => return None,
        };
        fields.push((field, kind, value));
    }
    Some(fields)
}

fn varint(message: &[u8], at: &mut usize) -> Option<u64> {
    let rest = &message[*at..];
    let length = 1 + rest.iter().position(|byte| *byte < 0x80)?;
    if length > 10 {
        return None;
    }
    let bits = rest[..length].iter().rev();
    let value = bits.fold(0_u128, |value, byte| value * 128 + u128::from(byte % 128));
    *at += length;
    u64::try_from(value).ok()
}

fn skip(message: &[u8], at: &mut usize, length: u64) -> Option<u64> {
    let left = message.len() - *at;
    let skipped = usize::try_from(length)
        .ok()
        .filter(|length| *length <= left)?;
    *at += skipped;
    Some(length)
}

fn http(case: &Case<'_>) {
    let is_range = |(first, last): &(u16, u16)| *first >= 100 && first <= last && *last <= 999;
    let is_set = !case.ranges.is_empty() && case.ranges.iter().all(is_range);
    let ranges = case.ranges.iter().map(|(first, last)| *first..=*last);
    let Ok(expected) = Expected::statuses(ranges) else {
        assert!(!is_set);
        return;
    };
    assert!(is_set);
    let mut ranges = case.ranges.iter();
    let is_expected = ranges.any(|(first, last)| (first..=last).contains(&&case.status));
    assert_eq!(expected.has(case.status), is_expected);
    let bad = Sample::down(Why::Status(case.status));

    // Nothing is expected of the body: it is not read, and whatever it is does not matter.
    assert_eq!(expected.reads(case.status), None);
    let sample = expected.judge(case.status, case.body);
    assert_eq!(sample, if is_expected { Sample::UP } else { bad });

    let longest = usize::from(case.longest);
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let expected = expected.body(longest, move |body| {
        counted.fetch_add(1, Ordering::Relaxed);
        assert!(body.len() <= longest);
        body.first() == Some(&b'g')
    });
    assert_eq!(expected.reads(case.status), is_expected.then_some(longest));
    let sample = expected.judge(case.status, case.body);
    let whole = case.body.filter(|body| body.len() <= longest);
    let good = match whole {
        _ if !is_expected => bad,
        None => Sample::down(Why::Long),
        Some([b'g', ..]) => Sample::UP,
        Some(_) => Sample::down(Why::Answer),
    };
    assert_eq!(sample, good);
    let is_asked = is_expected && whole.is_some();
    assert_eq!(asked.load(Ordering::Relaxed), usize::from(is_asked));
}
