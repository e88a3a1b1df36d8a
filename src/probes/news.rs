//! What people hear of endpoints.

use tracing::{info, warn};

use crate::config::AllDown;
use crate::zones::{Change, Holder, Pulse, Zones};

/// Logs a change: one line, however many zones and endpoints have the address. `lasted_seconds` is
/// how long it was as before, `in_a_row` how many probes have said that it is not.
pub(super) fn tell(
    zones: &Zones,
    pulse: &Pulse,
    change: Change,
    lasted_seconds: u64,
    in_a_row: u32,
) {
    let line = line(zones, pulse, change, lasted_seconds, in_a_row);
    match change {
        Change::Fell => warn!("{line}"),
        Change::Rose => info!("{line}"),
    }
}

fn line(
    zones: &Zones,
    pulse: &Pulse,
    change: Change,
    lasted_seconds: u64,
    in_a_row: u32,
) -> String {
    let mut holders = zones.holders(pulse);
    let first = holders.next();
    let others = match holders.count() {
        0 => String::new(),
        others => format!(" (and of {others} more)"),
    };
    let whose = first.as_ref().map_or_else(String::new, |Holder { zone, endpoint, .. }| {
        format!("endpoint {endpoint} of {zone}{others}: ")
    });
    let (address, probe) = (pulse.target().address, &pulse.target().probe);
    match change {
        Change::Fell => {
            let why = pulse.report().last_fault.map_or_else(String::new, |(fault, _)| fault);
            let now = first.as_ref().map_or_else(|| "nothing".to_owned(), instead);
            format!(
                "{whose}{address} is down ({probe}: {why}, {in_a_row} in a row); answered now: {now}"
            )
        }
        Change::Rose => {
            format!("{whose}{address} is up again after {lasted_seconds} s ({probe})")
        }
    }
}

/// What a name gets that had the address. Which else it has differs from name to name.
fn instead(holder: &Holder<'_>) -> String {
    let alone = match holder.all_down {
        AllDown::ServeAll => "every address all the same",
        AllDown::Servfail => "SERVFAIL",
        AllDown::Public => "what the upstream says",
    };
    let first = match (holder.others_up, holder.endpoints_up) {
        (0, 0) => return format!("{alone}, as no address of the zone is up"),
        (1.., 0) => "the endpoint's other addresses where a name has some",
        (0, 1..) => "the next endpoint where it has the name",
        (1.., 1..) => "the endpoint's other addresses, or the next endpoint, where a name has some",
    };
    format!("{first}, else {alone}")
}

/// A line about each address that is probed.
pub fn reports(zones: &Zones) -> impl Iterator<Item = String> {
    zones.pulses().iter().map(|pulse| {
        let holder = zones.holders(pulse).next();
        let whose = holder
            .map_or_else(String::new, |holder| format!("{} of {}: ", holder.endpoint, holder.zone));
        let target = pulse.target();
        format!("{whose}{} {} {}", target.address, target.probe, pulse.report())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{defender, endpoint};
    use crate::config::{Endpoint, PrivateLink, Probe};

    fn zones(all_down: AllDown, endpoints: &[(&str, &[&str])]) -> Zones {
        let probed = |(name, addresses): &(&str, &[&str])| Endpoint {
            probe: Some(Probe::Tcp { port: 443 }),
            ..endpoint(name, &[], addresses, &[])
        };
        let endpoints = endpoints.iter().map(probed).collect();
        Zones::new(&[PrivateLink { all_down, ..defender(endpoints) }])
    }

    fn fallen(zones: &Zones) -> String {
        let pulse = &zones.pulses()[0];
        pulse.set(false);
        line(zones, pulse, Change::Fell, 7, 3)
    }

    #[test]
    fn a_change_says_where_why_and_what_is_answered_now() {
        let both = zones(AllDown::ServeAll, &[("hub", &["10.1.0.5", "10.1.0.6"])]);
        assert_eq!(
            fallen(&both),
            "endpoint hub of cloud.defender.microsoft.com: 10.1.0.5 is down (tcp:443: connection \
             refused, 3 in a row); answered now: the endpoint's other addresses where a name has \
             some, else every address all the same"
        );
        let pulse = &both.pulses()[0];
        pulse.set(true);
        assert_eq!(
            line(&both, pulse, Change::Rose, 42, 3),
            "endpoint hub of cloud.defender.microsoft.com: 10.1.0.5 is up again after 42 s \
             (tcp:443)"
        );
        let two: &[(&str, &[&str])] = &[("hub", &["10.1.0.5"]), ("spare", &["10.2.0.5"])];
        let said = fallen(&zones(AllDown::Servfail, two));
        assert!(said.ends_with("now: the next endpoint where it has the name, else SERVFAIL"));
        let one: &[(&str, &[&str])] = &[("hub", &["10.1.0.5"])];
        for (all_down, now) in [
            (AllDown::ServeAll, "every address all the same"),
            (AllDown::Servfail, "SERVFAIL"),
            (AllDown::Public, "what the upstream says"),
        ] {
            let said = fallen(&zones(all_down, one));
            assert!(said.contains(&format!("; answered now: {now}, as no")), "{said}");
        }
    }

    #[test]
    fn an_address_of_several_endpoints_is_one_line() {
        let shared: &[(&str, &[&str])] = &[("hub", &["10.1.0.5"]), ("spare", &["10.1.0.5"])];
        let zones = zones(AllDown::ServeAll, shared);
        assert_eq!(zones.pulses().len(), 1);
        let said = fallen(&zones);
        assert!(said.starts_with("endpoint hub of cloud.defender.microsoft.com (and of 1 more): "));
        let reports: Vec<_> = reports(&zones).collect();
        assert_eq!(reports.len(), 1);
        assert!(
            reports[0].starts_with(
                "hub of cloud.defender.microsoft.com: 10.1.0.5 tcp:443 state=down since=0s"
            ),
            "{reports:?}"
        );
        assert!(reports[0].ends_with("last-failure=\"connection refused, 0 s ago\""));
    }
}
