//! Which endpoint answers whom, and which of its addresses.

use std::net::IpAddr;

use super::marked::{Family, Marked};
use super::pulse::{Pulse, State};
use super::{Addresses, Candidates, Endpoint, Preference, Zone, Zones};
use crate::access::SiteId;
use crate::config::AllDown;
use crate::wire::Rtype;

impl Zone {
    /// Whether something is down, here or in another zone: [`Self::choose_up`] then knows better.
    #[inline]
    pub fn any_down(&self) -> bool {
        self.pulses.any_down()
    }

    /// Chooses among the endpoints that have a name: one of the client's own site, else one for
    /// every site, else any other; the file's order within each.
    pub fn choose<'a>(
        &self,
        candidates: Candidates<'a>,
        site: Option<SiteId>,
    ) -> Option<(Addresses<'a>, Preference)> {
        let (mut every, mut first) = (None, None);
        for addresses in candidates {
            let sites = self.sites(&addresses);
            if site.is_some_and(|site| sites.contains(&site)) {
                return Some((addresses, Preference::OwnSite));
            }
            if sites.is_empty() && every.is_none() {
                every = Some((addresses, Preference::EverySite));
            }
            first = first.or(Some((addresses, Preference::OtherSite)));
        }
        every.or(first)
    }

    fn sites(&self, addresses: &Addresses<'_>) -> &[SiteId] {
        self.endpoints.get(addresses.endpoint).map_or(&[], |endpoint| &*endpoint.sites)
    }

    /// The same while something is down: who is down gives way to the next, and addresses that are
    /// down are marked.
    ///
    /// The first in order that has an address of the family asked which is up, else one that proves
    /// itself. One without that family ends the search as it does when all are up, but never where
    /// one before it has addresses: an answer is not empty because something is down.
    #[cold]
    pub fn choose_up<'a>(
        &self,
        candidates: Candidates<'a>,
        site: Option<SiteId>,
        qtype: Rtype,
    ) -> Option<(Marked<'a>, Preference)> {
        let family = match qtype {
            Rtype::A => Family::V4,
            Rtype::AAAA => Family::V6,
            _ => Family::Either,
        };
        let mut all_down = true;
        for least in [State::Up, State::Proving] {
            let (mut is_first, mut had_family) = (true, false);
            for (addresses, preference) in self.ordered(candidates, site) {
                let addresses = self.mark(addresses, least);
                let any_up = addresses.any_up(Family::Either);
                all_down &= !any_up;
                let has_family = addresses.has(family);
                let fits =
                    if has_family { addresses.any_up(family) } else { !had_family && any_up };
                if fits {
                    let because = if is_first { preference } else { Preference::NextUp };
                    return Some((addresses, because));
                }
                (is_first, had_family) = (false, had_family || has_family);
            }
        }
        let because = if all_down { Preference::AllDown } else { Preference::FamilyDown };
        let first = self.ordered(candidates, site).next();
        first.map(|(addresses, _)| (Marked::unmarked(addresses), because))
    }

    fn ordered<'a>(
        &self,
        candidates: Candidates<'a>,
        site: Option<SiteId>,
    ) -> impl Iterator<Item = (Addresses<'a>, Preference)> {
        let preference = move |addresses: &Addresses<'_>| {
            let sites = self.sites(addresses);
            if site.is_some_and(|site| sites.contains(&site)) {
                Preference::OwnSite
            } else if sites.is_empty() {
                Preference::EverySite
            } else {
                Preference::OtherSite
            }
        };
        let turns = [Preference::OwnSite, Preference::EverySite, Preference::OtherSite];
        turns.into_iter().flat_map(move |turn| {
            let of_turn = candidates.filter(move |addresses| preference(addresses) == turn);
            of_turn.map(move |addresses| (addresses, turn))
        })
    }

    /// With those marked that are not even in the state `least`.
    fn mark<'a>(&self, addresses: Addresses<'a>, least: State) -> Marked<'a> {
        match self.endpoints.get(addresses.endpoint) {
            Some(endpoint) => Marked::by(addresses, |ip| endpoint.state(ip) < least),
            None => Marked::unmarked(addresses),
        }
    }

    /// Whether no address of the candidates is up, or proves itself.
    #[cold]
    #[inline(never)]
    pub(super) fn is_all_down(&self, mut candidates: Candidates<'_>) -> bool {
        self.pulses.any_down()
            && candidates
                .all(|addresses| !self.mark(addresses, State::Proving).any_up(Family::Either))
    }

    /// What is not up of the candidates, each with its endpoint's name.
    pub fn not_up<'a>(
        &'a self,
        candidates: Candidates<'a>,
    ) -> impl Iterator<Item = (&'a str, &'a Pulse)> {
        candidates.flat_map(move |addresses| {
            let endpoint = self.endpoints.get(addresses.endpoint);
            let ips: Vec<IpAddr> = addresses.iter().collect();
            ips.into_iter().filter_map(move |ip| {
                let endpoint = endpoint?;
                let pulse = endpoint.pulse(ip).filter(|pulse| pulse.state() != State::Up)?;
                Some((&*endpoint.name, pulse))
            })
        })
    }
}

impl Endpoint {
    fn pulse(&self, ip: IpAddr) -> Option<&Pulse> {
        let at = self.pulses.binary_search_by_key(&ip, |(ip, _)| *ip).ok()?;
        self.pulses.get(at).map(|(_, pulse)| &**pulse)
    }

    /// What nobody probes is up.
    fn state(&self, ip: IpAddr) -> State {
        self.pulse(ip).map_or(State::Up, Pulse::state)
    }
}

/// An endpoint that has an address, and what else there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder<'a> {
    /// The public zone, as text.
    pub zone: String,
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// What the zone does when all is down.
    pub all_down: AllDown,
    /// Other addresses of the endpoint that are up.
    pub others_up: usize,
    /// The zone's other endpoints that have an address which is up.
    pub endpoints_up: usize,
}

impl Zones {
    /// The endpoints that have what `pulse` tells of.
    pub fn holders<'a>(&'a self, pulse: &'a Pulse) -> impl Iterator<Item = Holder<'a>> {
        let is_it = |other: &Pulse| other.number() == pulse.number();
        self.zones.iter().flat_map(move |zone| {
            let has = move |endpoint: &&Endpoint| endpoint.pulses.iter().any(|(_, p)| is_it(p));
            let endpoints = zone.endpoints.iter();
            endpoints.enumerate().filter(move |(_, endpoint)| has(endpoint)).map(
                move |(index, endpoint)| {
                    let up = |(_, p): &&(_, std::sync::Arc<Pulse>)| p.state() == State::Up;
                    let others = zone.endpoints.iter().enumerate().filter(|(i, other)| {
                        *i != index
                            && (other.pulses.is_empty() || other.pulses.iter().any(|p| up(&p)))
                    });
                    Holder {
                        zone: zone.public.to_string(),
                        endpoint: &endpoint.name,
                        all_down: zone.all_down,
                        others_up: endpoint
                            .pulses
                            .iter()
                            .filter(up)
                            .filter(|(_, p)| !is_it(p))
                            .count(),
                        endpoints_up: others.count(),
                    }
                },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::testing::{defender, endpoint};
    use crate::config::{self, PrivateLink, Probe};
    use crate::wire::{Name, QName};
    use crate::zones::{Found, Place};

    const P: &str = "cloud.defender.microsoft.com";

    struct World(Zones);

    /// Endpoints as site (if any) and addresses, named by their place; each serves everything.
    fn world(all_down: AllDown, endpoints: &[(Option<usize>, &[&str])]) -> World {
        let one = |(number, (site, addresses)): (usize, &(Option<usize>, &[&str]))| {
            let site = site.as_slice();
            config::Endpoint {
                probe: Some(Probe::Tcp { port: 443 }),
                ..endpoint(&number.to_string(), site, addresses, &[])
            }
        };
        let endpoints = endpoints.iter().enumerate().map(one).collect();
        World(Zones::new(&[PrivateLink { all_down, ..defender(endpoints) }]))
    }

    impl World {
        fn down(&self, addresses: &[&str]) {
            for pulse in self.0.pulses() {
                let address = pulse.target().address.to_string();
                pulse.set(!addresses.contains(&address.as_str()));
            }
        }

        fn found(&self) -> Found<'_> {
            let name: Name = format!("x.{P}").parse().expect("a name");
            self.0.find(&QName::from(&name)).expect("a zone")
        }

        /// Endpoint, reason, and what is answered.
        fn says(&self, site: Option<usize>, qtype: Rtype) -> String {
            let Found { zone, place: Place::Served(candidates), .. } = self.found() else {
                return "away".to_owned();
            };
            let site = site.map(SiteId);
            let chosen = if zone.any_down() {
                zone.choose_up(candidates, site, qtype)
            } else {
                zone.choose(candidates, site).map(|(all, why)| (Marked::unmarked(all), why))
            };
            let (marked, because) = chosen.expect("an endpoint");
            let of_type = |ip: &IpAddr| if qtype == Rtype::A { ip.is_ipv4() } else { ip.is_ipv6() };
            marked.with_rest(|rest| {
                let up = rest.iter().filter(of_type);
                let up: Vec<_> = up.map(|ip| ip.to_string()).collect();
                format!("{} {because:?} {}", zone.endpoint_name(&rest), up.join(" "))
            })
        }
    }

    #[test]
    fn the_next_in_order_takes_over() {
        let world = world(
            AllDown::ServeAll,
            &[
                (Some(1), &["10.0.1.1"]),
                (Some(0), &["10.0.0.1", "10.0.0.2"]),
                (None, &["10.0.9.1"]),
                (Some(0), &["10.0.0.3"]),
            ],
        );
        let own = "1 OwnSite 10.0.0.1 10.0.0.2";
        assert_eq!(world.says(Some(0), Rtype::A), own);
        world.down(&["10.0.9.1"]);
        assert_eq!(world.says(Some(0), Rtype::A), own, "somebody else's trouble");
        assert_eq!(world.says(None, Rtype::A), "0 NextUp 10.0.1.1");
        world.down(&["10.0.0.1"]);
        assert_eq!(world.says(Some(0), Rtype::A), "1 OwnSite 10.0.0.2");
        world.down(&["10.0.0.1", "10.0.0.2"]);
        assert_eq!(world.says(Some(0), Rtype::A), "3 NextUp 10.0.0.3", "the same site first");
        world.down(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(world.says(Some(0), Rtype::A), "2 NextUp 10.0.9.1", "then every site's");
        world.down(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.9.1"]);
        assert_eq!(world.says(Some(0), Rtype::A), "0 NextUp 10.0.1.1", "then others'");
        assert_eq!(world.says(Some(1), Rtype::A), "0 OwnSite 10.0.1.1");
        world.down(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.9.1", "10.0.1.1"]);
        assert_eq!(world.says(Some(0), Rtype::A), "1 AllDown 10.0.0.1 10.0.0.2");
        world.down(&[]);
        assert_eq!(world.says(Some(0), Rtype::A), own);
    }

    #[test]
    fn each_family_goes_where_it_is_up_and_none_becomes_empty_for_the_others_sake() {
        let both: &[&str] = &["10.0.0.1", "fd00::1"];
        let two = world(AllDown::Servfail, &[(Some(0), both), (None, &["10.0.9.1", "fd00::9"])]);
        two.down(&["10.0.0.1"]);
        assert_eq!(two.says(Some(0), Rtype::A), "1 NextUp 10.0.9.1");
        assert_eq!(two.says(Some(0), Rtype::AAAA), "0 OwnSite fd00::1");
        two.down(&["10.0.0.1", "10.0.9.1"]);
        assert_eq!(two.says(Some(0), Rtype::A), "0 FamilyDown 10.0.0.1");
        two.down(&["fd00::1", "fd00::9"]);
        assert_eq!(two.says(Some(0), Rtype::AAAA), "0 FamilyDown fd00::1");
        // One that has no IPv4 is passed over by who asks for it.
        let gap = [(Some(0), both), (None, &["fd00::9"] as &[_]), (Some(1), &["10.0.1.1"])];
        let gap = world(AllDown::ServeAll, &gap);
        gap.down(&["10.0.0.1"]);
        assert_eq!(gap.says(Some(0), Rtype::A), "2 NextUp 10.0.1.1");
        gap.down(&["10.0.0.1", "fd00::1", "10.0.1.1"]);
        assert_eq!(gap.says(Some(0), Rtype::A), "0 FamilyDown 10.0.0.1");
        assert_eq!(gap.says(Some(0), Rtype::AAAA), "1 NextUp fd00::9");
    }

    #[test]
    fn nodata_stays_nodata_while_its_endpoint_is_up() {
        let four = world(AllDown::ServeAll, &[(Some(0), &["10.0.0.1"]), (None, &["fd00::9"])]);
        four.down(&["fd00::9"]);
        assert_eq!(four.says(Some(0), Rtype::AAAA), "0 OwnSite ");
        // When it is down, the next one answers what it has.
        four.down(&["10.0.0.1"]);
        assert_eq!(four.says(Some(0), Rtype::AAAA), "1 NextUp fd00::9");
        four.down(&["10.0.0.1", "fd00::9"]);
        assert_eq!(four.says(Some(0), Rtype::AAAA), "0 AllDown ");
    }

    #[test]
    fn who_proves_itself_serves_where_nothing_else_is_up() {
        let flaps: &[(Option<usize>, &[&str])] = &[(Some(0), &["10.0.0.1"]), (None, &["10.0.9.1"])];
        for all_down in [AllDown::ServeAll, AllDown::Public] {
            let world = world(all_down, flaps);
            let [own, other] = world.0.pulses() else { panic!("two") };
            let settings = config::Probes { rise: 1, fall: 1, ..config::Probes::default() };
            let now = tokio::time::Instant::now();
            let fault = || Err(crate::zones::Fault::Timeout);
            for outcome in [fault(), Ok(()), fault(), Ok(())] {
                own.note(outcome, &settings, now);
            }
            assert_eq!(own.state(), State::Proving);
            assert_eq!(world.says(Some(0), Rtype::A), "1 NextUp 10.0.9.1");
            other.set(false);
            assert_eq!(world.says(Some(0), Rtype::A), "0 OwnSite 10.0.0.1");
            own.note(fault(), &settings, now);
            let down = world.says(Some(0), Rtype::A);
            let expected = if all_down == AllDown::Public { "away" } else { "0 AllDown 10.0.0.1" };
            assert_eq!(down, expected);
        }
    }

    #[test]
    fn a_name_that_is_public_while_all_is_down_is_ours_again_at_once() {
        let world = world(AllDown::Public, &[(Some(0), &["10.0.0.1"]), (None, &["fd00::9"])]);
        world.down(&["10.0.0.1"]);
        assert!(world.found().is_ours());
        world.down(&["10.0.0.1", "fd00::9"]);
        assert!(!world.found().is_ours());
        world.down(&["10.0.0.1"]);
        assert!(world.found().is_ours());
    }

    #[test]
    fn what_nobody_probes_is_up() {
        let mut link = defender(vec![endpoint("a", &[], &["10.0.0.1"], &[])]);
        let probe = Some(Probe::Tcp { port: 443 });
        link.endpoints.push(config::Endpoint { probe, ..endpoint("b", &[], &["10.0.0.2"], &[]) });
        link.all_down = AllDown::Public;
        let world = World(Zones::new(&[link]));
        world.down(&["10.0.0.2"]);
        assert_eq!(world.says(None, Rtype::A), "a EverySite 10.0.0.1");
    }

    #[test]
    fn a_whole_list_of_addresses_has_its_marks() {
        let all: Vec<_> = (1..=64).map(|last| format!("10.0.0.{last}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let world = world(AllDown::ServeAll, &[(None, &all)]);
        world.down(&all[..63]);
        assert_eq!(world.says(None, Rtype::A), "0 EverySite 10.0.0.64");
        world.down(&all[1..]);
        assert_eq!(world.says(None, Rtype::A), "0 EverySite 10.0.0.1");
        world.down(&all);
        assert!(world.says(None, Rtype::A).starts_with("0 AllDown 10.0.0.1 "));
    }

    #[test]
    fn a_reload_goes_on_with_what_is_probed_in_the_same_way() {
        let one: &[(Option<usize>, &[&str])] = &[(None, &["10.0.0.1", "10.0.0.2"])];
        let old = world(AllDown::ServeAll, one);
        old.down(&["10.0.0.1", "10.0.0.2"]);
        let mut new = world(AllDown::ServeAll, &[(None, &["10.0.0.2", "10.0.0.3"])]);
        new.0.go_on_from(&old.0);
        assert_eq!(new.says(None, Rtype::A), "0 EverySite 10.0.0.3");
        let tally = new.0.tally().to_string();
        assert!(tally.contains("endpoint-falls=2 ") && tally.ends_with("down=2"), "{tally}");
        let addresses: Vec<_> =
            new.0.pulses().iter().map(|pulse| pulse.target().address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.2", "10.0.0.3"]);
        assert!(Arc::ptr_eq(&new.0.pulses()[0], &old.0.pulses()[1]));
        drop(old);
        assert!(new.0.tally().to_string().ends_with("down=1"), "10.0.0.1 is nobody's any more");
        // What is done with the pulses of the new tables is seen there.
        new.down(&["10.0.0.3"]);
        assert_eq!(new.says(None, Rtype::A), "0 EverySite 10.0.0.2");
    }
}
