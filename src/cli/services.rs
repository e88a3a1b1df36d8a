//! `services`: the catalogue, searched.

use std::process::ExitCode;

use serde::Serialize;

use super::complain;
use crate::catalog::{self, Basis, Cloud, Evidence, Pair, Role, Service};

/// List and search the built-in catalogue of Private Link services.
///
/// All words must stand somewhere in a service's name, other words for it, its cloud, resource types,
/// group ids or zones, in either case. Few matches are shown in full, and the service whose name is one of the words
/// with what to write into the configuration. Zones that Azure's table of private zones lacks are marked as documented
/// elsewhere or as inferred, with the source. Exits 1 when nothing matches.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  privatelinkd services
  privatelinkd services cosmos --cloud china
  privatelinkd services privatelink.vaultcore.azure.net
  privatelinkd services monitor
  privatelinkd services --json | jq '.[].name'")]
pub(super) struct Args {
    /// Words to look for; without any, everything is listed.
    #[arg(value_name = "WORD")]
    words: Vec<String>,
    /// Only this cloud: commercial, government or china.
    #[arg(long, value_parser = parse_cloud)]
    cloud: Option<Cloud>,
    /// Print one JSON array on stdout.
    #[arg(long)]
    json: bool,
}

/// Most services that are shown in full, in place of a line for each.
const MAX_IN_FULL: usize = 4;

/// A service as JSON.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    service: &'static Service,
    /// What `variables` must say.
    variables: Vec<&'static str>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let words: Vec<String> = args.words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let found: Vec<&'static Service> = catalog::services()
        .iter()
        .filter(|service| args.cloud.is_none_or(|cloud| cloud == service.cloud))
        .filter(|service| matches(service, &words))
        .collect();
    if args.json {
        let shown = found.iter().map(|service| Shown { service, variables: service.variables() });
        super::say_json(&shown.collect::<Vec<_>>())?;
    } else {
        super::say(&in_words(&found, &words))?;
    }
    if found.is_empty() {
        complain(&nothing(args));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_cloud(word: &str) -> Result<Cloud, String> {
    Cloud::parse(word).ok_or_else(|| "write commercial, government or china".to_owned())
}

fn matches(service: &Service, words: &[String]) -> bool {
    let zones = service.pairs.iter().flat_map(|pair| [pair.public, pair.private]);
    let texts = [service.name, service.cloud.word()].into_iter().chain(zones);
    let listed = [service.aliases, service.resource_types, service.group_ids, service.also_public];
    let texts = texts.chain(listed.into_iter().flatten().copied());
    let text = texts.collect::<Vec<_>>().join("\n").to_ascii_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

fn nothing(args: &Args) -> String {
    let reasons = args.words.iter().filter_map(|word| catalog::not_offered(word, args.cloud?));
    if let Some(reason) = reasons.into_iter().next() {
        return format!("privatelinkd: nothing matches: {reason}");
    }
    let what = args.words.join(" ");
    let cloud = args.cloud.map(|cloud| format!(" in the cloud {cloud}")).unwrap_or_default();
    format!(
        "privatelinkd: nothing matches \"{what}\"{cloud}; `privatelinkd services` lists all. A \
         service that is not there: write public-zone and private-zone into [[private-link]]"
    )
}

fn in_words(found: &[&'static Service], words: &[String]) -> String {
    let named: Vec<&Service> = found
        .iter()
        .copied()
        .filter(|service| words.iter().any(|word| word == service.name))
        .collect();
    let (in_full, rest): (&[&Service], Vec<&Service>) = match named.first() {
        Some(first) if named.iter().all(|service| service.name == first.name) => {
            let is_other = |service: &&&Service| service.name != first.name;
            (&named, found.iter().filter(is_other).copied().collect())
        }
        _ if found.len() <= MAX_IN_FULL => (found, Vec::new()),
        _ => (&[], found.to_vec()),
    };
    let mut text = in_full.iter().map(|service| details(service)).collect::<Vec<_>>().join("\n");
    if let Some(first) = in_full.first() {
        if in_full.iter().all(|service| service.name == first.name) {
            text += &format!("\nTo be written into the configuration:\n\n{}", snippet(first));
        }
        if !rest.is_empty() {
            text += "\nThese match too:\n";
        }
    }
    text + &table(&rest)
}

/// A line for each service; one that has an inferred zone says so.
fn table(services: &[&Service]) -> String {
    let width = services.iter().map(|service| service.name.len()).max().unwrap_or(0);
    let line = |service: &&Service| {
        let (first, more) = match service.pairs {
            [first, more @ ..] => (first.public, more.len()),
            [] => ("", 0),
        };
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let inferred = service.evidence.iter().any(|e| e.basis == Basis::Inferred);
        let inferred = if inferred { " (inferred)" } else { "" };
        format!("{:width$}  {:10}  {first}{more}{inferred}\n", service.name, service.cloud.word())
    };
    services.iter().map(line).collect()
}

fn details(service: &Service) -> String {
    let Service { name, cloud, aliases, resource_types, group_ids, .. } = service;
    let Service { also_public, evidence, members, .. } = service;
    let mut text = format!("{name} ({cloud})\n");
    let mut row = |title: &str, value: &str| text += &format!("  {title:<14}{value}\n");
    if !aliases.is_empty() {
        row("also called", &aliases.join(", "));
    }
    for (place, resource_type) in resource_types.iter().enumerate() {
        row(if place == 0 { "resource type" } else { "" }, resource_type);
    }
    row("group id", &group_ids.join(", "));
    for (place, Pair { public, private }) in service.pairs.iter().enumerate() {
        row(if place == 0 { "zones" } else { "" }, public);
        row("", &format!("  to {private}"));
    }
    for (place, zone) in also_public.iter().enumerate() {
        row(if place == 0 { "also forward" } else { "" }, zone);
    }
    for Evidence { public, basis, source } in *evidence {
        let (title, from) = match basis {
            Basis::Documented => ("documented", "in"),
            Basis::Inferred => ("inferred", "from"),
        };
        row(title, public);
        row("", &format!("  {from} {source}"));
    }
    if !members.is_empty() {
        row("members", &format!("{}, with an address each", members.join(", ")));
    }
    let unlisted = if service.other_tenants {
        "\"forward\", as other tenants have names in these zones too"
    } else {
        "\"wildcard\""
    };
    row("unlisted", unlisted);
    text
}

/// What an entry of this service looks like.
fn snippet(service: &Service) -> String {
    let mut lines = vec!["[[private-link]]".to_owned(), format!("service = \"{}\"", service.name)];
    if service.cloud != Cloud::default() {
        lines.push(format!("cloud = \"{}\"", service.cloud));
    }
    let values = service.variables();
    let values = values.iter().map(|name| format!("{name} = \"{}\"", catalog::example_value(name)));
    let values = values.collect::<Vec<_>>().join(", ");
    if !values.is_empty() {
        lines.push(format!("variables = {{ {values} }}"));
    }
    lines.extend(["", "[[private-link.endpoint]]", "name = \"hub\""].map(str::to_owned));
    if !service.other_tenants {
        lines.push("addresses = [\"10.1.0.4\"]".to_owned());
    }
    lines.push("[private-link.endpoint.names]".to_owned());
    let names = sample_names(service).into_iter().zip(5..);
    lines.extend(names.map(|(name, host)| format!("\"{name}\" = [\"10.1.0.{host}\"]")));
    lines.join("\n") + "\n"
}

/// Names as such an entry lists them: one for each member, or for each private zone.
fn sample_names(service: &Service) -> Vec<String> {
    if service.has_one_private_zone() {
        return match service.members {
            [] => vec!["contoso".to_owned()],
            members => members.iter().map(|member| (*member).to_owned()).collect(),
        };
    }
    let zones = service
        .pairs
        .iter()
        .filter_map(|pair| pair.filled(Role::Public, |name| Some(catalog::example_value(name))));
    zones.map(|zone| format!("contoso.{zone}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Widest line on a terminal, columns.
    const COLUMNS: usize = 100;

    fn all() -> Vec<&'static Service> {
        catalog::services().iter().collect()
    }

    #[test]
    fn everything_fits_a_terminal() {
        let text =
            all().iter().map(|service| details(service)).collect::<String>() + &table(&all());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }

    #[test]
    fn every_snippet_is_a_good_configuration() {
        for service in all() {
            let text = format!(
                "[listen]\ndns = [\"127.0.0.1:53\"]\n[[forward]]\nzones = [\".\"]\n\
                 upstreams = [\"10.0.0.4\"]\n{}",
                snippet(service)
            );
            let report = config::read(&text);
            assert_eq!(report.diagnostics, [], "{text}");
            let links = report.config.expect("no errors").private_links;
            assert_eq!(links.len(), service.pairs.len(), "{text}");
        }
    }

    /// Zones that several share, and zones inside others, with an entry for each.
    #[test]
    fn all_services_of_a_cloud_fit_into_one_file() {
        for cloud in Cloud::ALL {
            let here = all().into_iter().filter(|service| service.cloud == cloud);
            let entries = here.enumerate().map(|(number, service)| {
                let own = format!("contoso{number}");
                let text = snippet(service).replace("contoso", &own);
                let [service, rest @ ..] = &*text.splitn(3, '\n').collect::<Vec<_>>() else {
                    panic!("three lines: {text}");
                };
                format!("{service}\nunlisted = \"forward\"\n{}", rest.join("\n"))
            });
            let text = format!(
                "[listen]\ndns = [\"127.0.0.1:53\"]\n[[forward]]\nzones = [\".\"]\n\
                 upstreams = [\"10.0.0.4\"]\n{}",
                entries.collect::<String>()
            );
            let text = text.replace("addresses = [\"10.1.0.4\"]\n", "");
            assert_eq!(config::read(&text).diagnostics, [], "{cloud}");
        }
    }

    #[test]
    fn zones_that_the_table_lacks_say_what_they_rest_on() {
        let shown = |name: &str, cloud| details(catalog::find(name, cloud).expect("a service"));
        let hubs = shown("event-hubs", Cloud::Commercial);
        assert!(
            hubs.contains(
                "  documented    eventhubs.azure.net\n                  in Microsoft's page on \
                 partitioned DNS"
            ),
            "{hubs}"
        );
        assert!(!hubs.contains("inferred"), "{hubs}");
        let storage = shown("storage-blob-dns-zone", Cloud::Commercial);
        assert!(
            storage.contains(
                "  inferred      blob.storage.azure.net\n                  from the public names"
            ),
            "{storage}"
        );
        let vault = shown("key-vault", Cloud::China);
        assert!(vault.contains("  inferred      vault.azure.cn\n"), "{vault}");
        assert!(!shown("sql", Cloud::Commercial).contains("documented"));
        let table = table(&all());
        let inferred = |name: &str| {
            let line = table.lines().find(|line| line.starts_with(name)).expect("a line");
            line.ends_with(" (inferred)")
        };
        assert!(inferred("chaos-studio ") && inferred("storage-web-dns-zone "), "{table}");
        assert!(!inferred("event-hubs ") && !inferred("sql "), "{table}");
        let json = serde_json::to_value(catalog::find("chaos-studio", Cloud::Commercial));
        let json = json.expect("JSON");
        let first = json.get("evidence").and_then(|all| all.get(0)).expect("evidence");
        assert_eq!(first.get("public").and_then(|v| v.as_str()), Some("agents.core.windows.net"));
        assert_eq!(first.get("basis").and_then(|v| v.as_str()), Some("inferred"));
        assert!(first.get("source").and_then(|v| v.as_str()).is_some_and(|s| s.len() > 20));
    }

    #[test]
    fn all_words_must_match_somewhere() {
        let names = |words: &[&str]| -> Vec<&str> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let found = all().into_iter().filter(|service| matches(service, &words));
            found.map(|service| service.name).collect()
        };
        assert_eq!(names(&["microsoft.cache", "commercial"]).len(), 3);
        assert_eq!(names(&["vaultcore", "china"]), ["key-vault"]);
        assert_eq!(names(&["topicspace"]), ["event-grid-mqtt"]);
        assert_eq!(names(&["vaultcore", "blob"]), [""; 0]);
        assert_eq!(names(&[]).len(), catalog::services().len());
    }

    #[test]
    fn a_name_is_shown_in_full_with_what_to_write_and_others_follow() {
        let shown = |word: &str| {
            let words = [word.to_owned()];
            let found: Vec<_> =
                all().into_iter().filter(|service| matches(service, &words)).collect();
            in_words(&found, &words)
        };
        let sql = shown("sql");
        assert!(sql.starts_with("sql (commercial)\n"), "{sql}");
        assert!(sql.contains("service = \"sql\"\n"), "{sql}");
        assert!(sql.contains("These match too:\n") && sql.contains("\nsynapse-sql "), "{sql}");
        let aks = shown("aks");
        assert!(aks.contains("variables = { regionName = \"westeurope\" }"), "{aks}");
        let many = shown("storage");
        assert!(!many.contains("To be written"), "{many}");
        let vaults = shown("vaultcore");
        assert!(vaults.contains("  to privatelink.vaultcore.usgovcloudapi.net\n"), "{vaults}");
    }
}
