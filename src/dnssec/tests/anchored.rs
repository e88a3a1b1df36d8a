//! Where trust begins, and where nothing is validated.

use super::*;

#[test]
fn nothing_below_a_negative_trust_anchor_is_validated() {
    let resolver = Resolver::new(Zones::new());
    resolver.zones.tamper(|_, _, message| alter_address(message));
    let file = AnchorFile::of_root(&resolver.zones);
    let validator = validator(&file, &["signed.test"]).expect("anchors");
    let judged = |qname: &str| worth(judge(&validator, &resolver, &question(qname, Rtype::A)));
    assert_eq!(judged("www.signed.test"), INSECURE);
    assert_eq!(judged("signed.test"), INSECURE);
    let p = minimal().private_links[0].public_zone.to_string();
    assert_eq!(judged(&format!("x.{p}")), INSECURE);
    assert_eq!(judged(&format!("x.privatelink.{p}")), INSECURE);
    assert!(resolver.asked.borrow().is_empty());
    assert_eq!(judged("www.hashed.test"), Err(Ede::DnssecBogus));
    let mut passing = resolver;
    passing.passes = Some("hashed.test".parse().expect("a name"));
    let judged = judge(&validator, &passing, &question("www.hashed.test", Rtype::A));
    assert_eq!(worth(judged), INSECURE);
}

#[test]
fn anchors_are_keys_or_digests_of_any_zone() {
    let resolver = Resolver::new(Zones::new());
    let judged = |text: &str, qname: &str| {
        let file = AnchorFile::new(text);
        let validator = validator(&file, &[]).expect("anchors");
        worth(judge(&validator, &resolver, &question(qname, Rtype::A)))
    };
    let root = format!(". IN DS {}", resolver.zones.zone("").ds());
    assert_eq!(judged(&root, "www.signed.test"), SECURE);
    let island =
        format!("Hashed.Test. 60 in ds {} ; ours", resolver.zones.zone("hashed.test").ds());
    assert_eq!(judged(&island, "www.hashed.test"), SECURE);
    assert_eq!(judged(&island, "www.signed.test"), INSECURE);
    let both = format!("{root}\n{island}");
    assert_eq!(judged(&both, "over.signed.test"), SECURE);
    let wrong = format!(". DS {}", resolver.zones.zone("hashed.test").ds());
    assert_eq!(judged(&wrong, "www.signed.test"), Err(Ede::DnssecBogus));
}

#[test]
fn a_file_of_anchors_says_where_it_is_wrong() {
    let why = |text: &str| {
        let file = AnchorFile::new(text);
        let error = validator(&file, &[]).err().expect("an error");
        let said = error.to_string();
        assert!(said.starts_with(file.0.to_str().expect("a path")), "{said}");
        (error.line, error.what)
    };
    assert_eq!(why("; nothing").0, None);
    let (line, what) = why("\n. IN DS 20326 8 2 nonsense\n");
    assert_eq!(line, Some(2));
    assert!(what.starts_with("this DS record cannot be read"), "{what}");
    let (line, what) = why(". IN A 10.0.0.1");
    assert_eq!(line, Some(1));
    assert!(what.starts_with("a A record; write DS or DNSKEY records"), "{what}");
    assert_eq!(why("a..b DS 1 8 2 00").0, Some(1));
    assert_eq!(why("a.b").0, Some(1));
    assert_eq!(why(". IN DNSKEY 257 3 8 !").0, Some(1));
    let gone = AnchorFile("/nonexistent/anchors".into());
    let error = validator(&gone, &[]).err().expect("an error").to_string();
    assert!(error.starts_with("/nonexistent/anchors: cannot be read"), "{error}");
}

#[test]
fn a_validator_knows_which_one_is_stricter() {
    let zones = Zones::new();
    let file = AnchorFile::of_root(&zones);
    let of = |negative: &[&str]| validator(&file, negative).expect("anchors");
    let (lax, strict) = (of(&["a.test", "b.test"]), of(&["a.test"]));
    assert!(strict.is_as_strict_as(&lax));
    assert!(!lax.is_as_strict_as(&strict));
    let other = AnchorFile::new(&format!(". IN DS {}", zones.zone("").ds()));
    assert!(!validator(&other, &["a.test"]).expect("anchors").is_as_strict_as(&strict));
}
