//! resolv.conf of a host or container.

use std::time::Duration;

use super::sheet::Sheet;
use super::{Material, checks};

/// Longest wait that glibc takes (RES_MAXRETRANS), seconds.
const MOST_PATIENCE_SECONDS: u64 = 30;
/// How much longer than the daemon's own budget a client waits: the reply still has to travel.
const MARGIN: Duration = Duration::from_secs(1);

pub(super) fn write(sheet: &mut Sheet, material: &Material) {
    let patience = (material.slowest + MARGIN).as_secs_f64().ceil();
    let patience = Duration::try_from_secs_f64(patience).map_or(0, |wait| wait.as_secs());
    let patience = patience.clamp(1, MOST_PATIENCE_SECONDS);
    sheet.note(
        "This is /etc/resolv.conf. Where it is a link or is written by another program \
         (NetworkManager, resolvconf, systemd-resolved, a container's runtime), tell that program \
         the same: docker run --dns, dnsPolicy: None and dnsConfig in Kubernetes.",
    );
    sheet.between();
    sheet.note(
        "Every name goes to privatelinkd. Add no other server, not as a second one either: glibc \
         asks it when the first is slow, musl asks all at once and takes the first answer, and it \
         knows public addresses alone.",
    );
    sheet.note(&format!(
        "timeout: longer than privatelinkd takes to answer or to fail. ndots:1 asks names with a \
         dot as they are; Kubernetes writes 5, with which api.cloud.defender.microsoft.com (four \
         dots) is first asked with every search domain behind it. musl knows these three options, \
         too; ones before 1.2.4 have no TCP, and privatelinkd keeps private answers in one \
         datagram. timeout is {patience} s for each of two tries."
    ));
    sheet.gap();
    for server in &material.servers {
        sheet.line(format_args!("nameserver {}", server.ip()));
    }
    sheet.line(format_args!("options ndots:1 timeout:{patience} attempts:2"));
    sheet.gap();
    sheet.note("Programs that run already may have read the old file: restart them.");
    checks::with_dig(sheet, material, None);
    let by_libc = material.checks.iter().find(|check| check.addresses.iter().any(|a| a.is_ipv4()));
    if let Some(check) = by_libc {
        sheet.note("As programs look names up:");
        sheet.quote(format_args!("$ getent ahostsv4 {} | cut -d' ' -f1 | sort -u", check.name));
        for address in check.addresses.iter().filter(|address| address.is_ipv4()) {
            sheet.quote(address);
        }
    }
}
