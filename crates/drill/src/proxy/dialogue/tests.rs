use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn rule(json: &str) -> Rule {
    Rule {
        id: 7,
        seed: Seed(3),
        resp: serde_json::from_str(json).unwrap(),
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(text, "${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

/// What goes on of these bytes, in parts of this size.
fn ask(dialogue: &mut Dialogue, rules: &[Rule], said: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in said.chunks(size) {
        if rules.is_empty() && dialogue.overhear_request(part) {
            out.push(plain(Bytes::copy_from_slice(part)));
        } else {
            dialogue.ask(Time::ZERO, rules, Bytes::copy_from_slice(part), &mut out);
        }
    }
    joined(&out)
}

fn answer(dialogue: &mut Dialogue, said: &[u8], size: usize) -> String {
    let mut out = Vec::new();
    dialogue.answer(&Bytes::new(), &mut out);
    for part in said.chunks(size) {
        if dialogue.overhear_reply(part) {
            out.push(plain(Bytes::copy_from_slice(part)));
        } else {
            dialogue.answer(&Bytes::copy_from_slice(part), &mut out);
        }
    }
    String::from_utf8(joined(&out)).unwrap()
}

fn joined(chunks: &[Chunk]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect()
}

#[test]
fn an_error_stands_where_the_reply_would() {
    let rules = [rule(r#"{"command":"get","key":"user:*","error":"LOADING wait"}"#)];
    let asked = [
        command(&["SET", "a", "1"]),
        command(&["GET", "user:1"]),
        command(&["Get", "user:2"]),
        command(&["GET", "other"]),
        command(&["SET", "user:3", "x"]),
        command(&["get", "user:4"]),
    ];
    let on = [&asked[0][..], &asked[3], &asked[4]].concat();
    for size in [1, 2, 3, 7, 1_000] {
        let mut dialogue = Dialogue::default();
        assert_eq!(ask(&mut dialogue, &rules, &asked.concat(), size), on);
        let heard = answer(&mut dialogue, b"+OK\r\n$5\r\nva\r\nl\r\n+DONE\r\n", size);
        let error = "-LOADING wait\r\n";
        assert_eq!(
            heard,
            format!("+OK\r\n{error}{error}$5\r\nva\r\nl\r\n+DONE\r\n{error}")
        );
        assert!(!dialogue.injecting() && !dialogue.foreign());
    }
}

#[test]
fn replies_of_all_kinds_are_counted() {
    let replies = [
        "+OK\r\n",
        "-ERR no\r\n",
        ":12\r\n",
        "$-1\r\n",
        "$0\r\n\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*3\r\n:1\r\n*2\r\n+a\r\n$1\r\nb\r\n_\r\n",
        "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
        "~1\r\n#t\r\n",
        ",1.5\r\n",
        "(123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\r\n",
        "=5\r\ntxt:a\r\n",
        "!3\r\nERR\r\n",
        "|1\r\n+ttl\r\n:3\r\n+with\r\n",
        ">2\r\n+invalidate\r\n*1\r\n+k\r\n+after a push\r\n",
    ];
    let get = command(&["GET", "k"]);
    let fail = [rule(r#"{"key":"bad","error":"E"}"#)];
    for size in [1, 5, 4_096] {
        let mut dialogue = Dialogue::default();
        for reply in replies {
            ask(&mut dialogue, &fail, &get, size);
            ask(&mut dialogue, &fail, &command(&["GET", "bad"]), size);
            assert_eq!(
                answer(&mut dialogue, reply.as_bytes(), size),
                format!("{reply}-E\r\n")
            );
        }
        assert!(!dialogue.foreign());
    }
}

#[test]
fn the_same_commands_fail_however_they_come() {
    let rules = [rule(r#"{"command":"*","error":"E","rate":0.3}"#)];
    let asked: Vec<u8> = (0..500)
        .flat_map(|n| command(&["GET", &format!("k{n}")]))
        .collect();
    let whole = ask(&mut Dialogue::default(), &rules, &asked, usize::MAX);
    for size in [1, 13, 64] {
        assert_eq!(ask(&mut Dialogue::default(), &rules, &asked, size), whole);
    }
    let share = whole.len() as f64 / asked.len() as f64;
    assert!((0.6..0.8).contains(&share), "{share}");
}

#[test]
fn a_delay_is_of_its_command_alone() {
    let rules = [rule(r#"{"key":"slow","delay":100}"#)];
    let mut dialogue = Dialogue::default();
    let (fast, slow) = (command(&["GET", "fast"]), command(&["GET", "slow"]));
    let mut out = Vec::new();
    let now = Time::ZERO + Span::secs(1);
    dialogue.ask(now, &rules, [&fast[..], &slow, &fast].concat().into(), &mut out);
    let late = Some((7, now + Span::millis(100)));
    let expected = [(&fast, None), (&slow, late), (&fast, None)];
    assert_eq!(out.len(), 3);
    for (chunk, (bytes, wait)) in out.iter().zip(expected) {
        assert_eq!((&chunk.bytes[..], chunk.wait), (&bytes[..], wait));
    }
}

#[test]
fn a_rule_that_comes_within_a_command_leaves_it_alone() {
    let rules = [rule(r#"{"error":"E"}"#)];
    let get = command(&["GET", "k"]);
    for cut in 1..get.len() {
        let mut dialogue = Dialogue::default();
        let mut on = ask(&mut dialogue, &[], &get[..cut], 99);
        on.extend(ask(&mut dialogue, &rules, &get[cut..], 99));
        assert_eq!(on, get, "{cut}");
        assert_eq!(ask(&mut dialogue, &rules, &get, 99), b"");
        assert_eq!(answer(&mut dialogue, b"+OK\r\n", 99), "+OK\r\n-E\r\n");
    }
}

#[test]
fn a_rule_that_goes_within_a_command_loses_nothing() {
    let rules = [rule(r#"{"key":"k","error":"E"}"#)];
    let get = command(&["GET", "k"]);
    for cut in 1..get.len() - 2 {
        let mut dialogue = Dialogue::default();
        let mut on = ask(&mut dialogue, &rules, &get[..cut], 99);
        let mut out = Vec::new();
        dialogue.release(&mut out);
        on.extend(joined(&out));
        on.extend(ask(&mut dialogue, &[], &get[cut..], 99));
        let answered = answer(&mut dialogue, b"+OK\r\n", 99);
        assert!(on == get && answered == "+OK\r\n", "{cut}: {on:?} {answered}");
    }
}

#[test]
fn what_is_not_a_conversation_passes() {
    let rules = [rule(r#"{"error":"E"}"#)];
    let broken: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"*1\r\n+PING\r\n",
        b"*x\r\n",
        b"*2\r\n$3\r\nGET\r\n$-5\r\n",
        b"*99999999999999999999999999999999999999999999999999999999999999999999999\r\n",
        &[0, 1, 2],
    ];
    for bytes in broken {
        for size in [1, 4, 99] {
            let mut dialogue = Dialogue::default();
            assert_eq!(ask(&mut dialogue, &rules, bytes, size), bytes);
            assert!(dialogue.foreign());
            assert_eq!(answer(&mut dialogue, b"whatever\r\n", size), "whatever\r\n");
        }
    }
    let mut dialogue = Dialogue::default();
    let subscribe = command(&["SUBSCRIBE", "news"]);
    assert_eq!(ask(&mut dialogue, &rules, &subscribe, 99), subscribe);
    assert!(dialogue.foreign());
}

#[test]
fn scripts_have_their_key_elsewhere() {
    let rules = [rule(r#"{"key":"user:*","error":"E"}"#)];
    let mut dialogue = Dialogue::default();
    let script = command(&["EVALSHA", "user:sha", "1", "lock", "user:x"]);
    assert_eq!(ask(&mut dialogue, &rules, &script, 99), script);
    let script = command(&["EVALSHA", "sha", "1", "user:1", "x"]);
    assert_eq!(ask(&mut dialogue, &rules, &script, 99), b"");
    let long = command(&["GET", &format!("user:{}", "x".repeat(600))]);
    assert_eq!(
        ask(&mut dialogue, &rules, &long, 99),
        long,
        "too long to be looked at"
    );
}

/// Bytes that are nearly RESP.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        5 => Just(command(&["GET", "k"])),
        3 => Just(b"+OK\r\n".to_vec()),
        1 => Just(command(&["SUBSCRIBE", "k"])),
        3 => prop::sample::select(vec!["*2\r\n", "$3\r\n", "GET\r\n", "$1\r\nk\r\n", ">1\r\n", "%1\r\n", "|1\r\n"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(prop::sample::select(b"*$:+-%~>|0123456789\r\nGETk".to_vec()), 0..90),
        1 => prop::collection::vec(any::<u8>(), 0..10),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_rules_all_passes(said in noise(), heard in noise(), size in 1..40_usize) {
        let mut dialogue = Dialogue::default();
        prop_assert_eq!(ask(&mut dialogue, &[], &said, size), said);
        let mut out = Vec::new();
        for part in heard.chunks(size) {
            dialogue.answer(&Bytes::copy_from_slice(part), &mut out);
        }
        prop_assert_eq!(joined(&out), heard);
    }

    #[test]
    fn with_rules_it_does_not_matter_how_bytes_come(said in noise(), heard in noise(), size in 1..40_usize) {
        let rules = [rule(r#"{"command":"get","error":"E","rate":0.5}"#)];
        let mut runs = Vec::new();
        for size in [size, usize::MAX] {
            let mut dialogue = Dialogue::default();
            let mut on = ask(&mut dialogue, &rules, &said, size);
            let mut out = Vec::new();
            dialogue.answer(&Bytes::new(), &mut out);
            for part in heard.chunks(size) {
                dialogue.answer(&Bytes::copy_from_slice(part), &mut out);
            }
            let answered = joined(&out);
            prop_assert!(answered.len() >= heard.len());
            let mut rest = Vec::new();
            dialogue.release(&mut rest);
            on.extend(joined(&rest));
            runs.push((on, answered));
        }
        prop_assert_eq!(&runs[0], &runs[1]);
    }
}
