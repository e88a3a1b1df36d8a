use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn requests() -> Requests {
    Requests::new(&ServerName::try_from("dns.example").unwrap(), 443, "/dns-query").unwrap()
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

/// What a response with this status and these headers is, at some time in 2026.
fn head(code: u16, fields: &[(&'static str, &str)]) -> Result<Body, Fault> {
    let now = httpdate::parse_http_date("Mon, 30 Nov 2026 12:00:00 GMT").unwrap();
    requests().read(StatusCode::from_u16(code).unwrap(), &headers(fields), now)
}

fn whole(fields: &[(&'static str, &str)], parts: &[&[u8]]) -> Result<Reply, Fault> {
    let mut body = head(200, fields)?;
    for part in parts {
        body.push(part)?;
    }
    body.finish()
}

fn reason(outcome: Result<Reply, Fault>) -> String {
    let fault = outcome.unwrap_err();
    assert_eq!((fault.error, fault.is_dead), (TryError::Garbled, false), "{}", fault.reason);
    fault.reason
}

#[test]
fn a_request_names_the_server_with_its_port() {
    let uri = |name: &str, port| {
        let name = ServerName::try_from(name).unwrap();
        Requests::new(&name, port, "/q").unwrap().uri.to_string()
    };
    assert_eq!(uri("dns.example", 443), "https://dns.example/q");
    assert_eq!(uri("dns.example", 8443), "https://dns.example:8443/q");
    assert_eq!(uri("192.0.2.1", 443), "https://192.0.2.1/q");
    assert_eq!(uri("fd01::4", 443), "https://[fd01::4]/q");
    assert_eq!(uri("fd01::4", 8443), "https://[fd01::4]:8443/q");
    let request = requests().post(128);
    assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/dns-query"));
    let expected = headers(&[
        ("content-type", DNS_MESSAGE),
        ("accept", DNS_MESSAGE),
        ("content-length", "128"),
    ]);
    assert_eq!(request.headers(), &expected);
}

#[test]
fn each_status_has_its_own_meaning() {
    for (code, error, reason) in [
        (429, TryError::ServerBusy, "HTTP 429 Too Many Requests"),
        (503, TryError::ServerBusy, "HTTP 503 Service Unavailable"),
        (400, TryError::Declined(400), "HTTP 400 Bad Request"),
        (403, TryError::Declined(403), "HTTP 403 Forbidden"),
        (404, TryError::Declined(404), "HTTP 404 Not Found for path /dns-query"),
        (499, TryError::Declined(499), "HTTP 499"),
        (500, TryError::ServerFailed(Breakdown::Status(500)), "HTTP 500 Internal Server Error"),
        (502, TryError::ServerFailed(Breakdown::Status(502)), "HTTP 502 Bad Gateway"),
        (599, TryError::ServerFailed(Breakdown::Status(599)), "HTTP 599"),
        (302, TryError::Declined(302), "HTTP 302 Found to nowhere; redirects are not followed"),
        (204, TryError::Garbled, "HTTP 204 No Content and no DNS message"),
        (600, TryError::Garbled, "HTTP 600 and no DNS message"),
    ] {
        assert_eq!(head(code, &[]).unwrap_err(), Fault::of_query(error, reason));
    }
}

#[test]
fn a_redirect_names_its_host_and_no_more() {
    let reason = |location: &str| head(307, &[("location", location)]).unwrap_err().reason;
    let words = |towards: &str| {
        format!("HTTP 307 Temporary Redirect to {towards}; redirects are not followed")
    };
    assert_eq!(reason("https://other.example:8443/x?secret"), words("other.example"));
    assert_eq!(reason("/elsewhere"), words("another path of its own"));
    assert_eq!(reason("\u{ff}"), words("a place that is no URL"));
    assert_eq!(reason("https://[::1/"), words("a place that is no URL"));
    let long = "x".repeat(10_000);
    assert!(reason(&format!("https://{long}/")).chars().count() <= 200);
}

#[test]
fn retry_after_is_seconds_or_a_date_and_bounded() {
    let rest = |value: &str| {
        let fault = head(429, &[("retry-after", value)]).unwrap_err();
        assert_eq!((fault.error, fault.is_dead), (TryError::ServerBusy, false));
        fault.rest
    };
    assert_eq!(rest("7"), Some(7 * SECOND));
    assert_eq!(rest(" 60 "), Some(60 * SECOND));
    for bounded in ["61", "86400", "99999999999999999999999999", "Wed, 30 Dec 2026 12:00:00 GMT"] {
        assert_eq!(rest(bounded), Some(60 * SECOND), "{bounded}");
    }
    assert_eq!(rest("Mon, 30 Nov 2026 12:00:09 GMT"), Some(9 * SECOND));
    assert_eq!(rest("Monday, 30-Nov-26 12:00:09 GMT"), Some(9 * SECOND));
    for nothing in ["0", "", "-1", "1.5", "soon", "\u{ff}", "Mon, 30 Nov 2026 11:59:00 GMT"] {
        assert_eq!(rest(nothing), None, "{nothing:?}");
    }
    let fault = head(503, &[("retry-after", "120")]).unwrap_err();
    assert_eq!(fault.reason, "HTTP 503 Service Unavailable, try again after 60 s");
    // Of other statuses it says nothing to us.
    assert_eq!(head(500, &[("retry-after", "7")]).unwrap_err().rest, None);
}

#[test]
fn content_types_have_parameters_and_any_case() {
    for fine in ["application/dns-message", "Application/DNS-Message; charset=utf-8", DNS_MESSAGE] {
        assert!(whole(&[("content-type", fine)], &[b"x"]).is_ok(), "{fine}");
    }
    assert!(whole(&[], &[b"x"]).is_ok(), "the octets are read in any case");
    let other = |value: &str| reason(whole(&[("content-type", value)], &[b"x"]));
    let words = "the reply's content type is \"text/html\", not application/dns-message";
    assert_eq!(other("text/html"), words);
    for value in
        ["", "application/dns-messages", "application/dns", "\u{ff}", "text/html;\u{1f4a9}"]
    {
        assert!(other(value).contains("content type"));
    }
    assert!(other(&"x".repeat(10_000)).chars().count() <= 200);
}

#[test]
fn bodies_are_bounded_and_as_long_as_they_say() {
    let largest = vec![7; 65_535];
    assert_eq!(whole(&[], &[&largest]).unwrap().octets, largest);
    assert_eq!(whole(&[("content-length", "65535")], &[&largest]).unwrap().octets, largest);
    let parts: Vec<&[u8]> = largest.chunks(1).collect();
    assert_eq!(whole(&[], &parts).unwrap().octets, largest);
    assert!(reason(whole(&[], &[&largest, b"x"])).contains("larger than 65535"));
    assert!(reason(whole(&[("content-length", "65536")], &[])).contains("65536 octets"));
    let huge = "99999999999999999999999";
    assert!(reason(whole(&[("content-length", huge)], &[])).contains("larger than 65535"));
    for odd in ["-1", "", "1, 1", "0x10"] {
        assert!(reason(whole(&[("content-length", odd)], &[])).contains("Content-Length is"));
    }
    let short = reason(whole(&[("content-length", "12")], &[b"eleven oct."]));
    assert_eq!(short, "the reply's Content-Length is 12, and its body has 11");
    let long = reason(whole(&[("content-length", "12")], &[b"twelve octets"]));
    assert_eq!(long, "the reply's Content-Length is 12, and its body is longer");
    assert_eq!(reason(whole(&[], &[])), "the reply's body is empty");
    assert_eq!(reason(whole(&[("content-length", "0")], &[])), "the reply's body is empty");
}

#[test]
fn only_age_tells_how_old_a_reply_is() {
    let age = |fields: &[(&'static str, &str)]| whole(fields, &[b"x"]).unwrap().age_seconds;
    assert_eq!(age(&[]), 0);
    assert_eq!(age(&[("age", "250")]), 250);
    assert_eq!(age(&[("age", "250"), ("age", "9")]), 250);
    assert_eq!(age(&[("age", " 250 , 9")]), 250);
    for huge in ["4294967296", "99999999999999999999999999"] {
        assert_eq!(age(&[("age", huge)]), u32::MAX);
    }
    for odd in ["", "-1", "1.5", "1e3", "\u{ff}", "x, 250"] {
        assert_eq!(age(&[("age", odd)]), 0, "{odd:?}");
    }
    let others = [("cache-control", "max-age=0"), ("expires", "0"), ("date", "0")];
    assert_eq!(age(&others), 0);
}
