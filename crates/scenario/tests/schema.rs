//! The published schemas are those that are made; `UPDATE=1` rewrites them.

fn is_up_to_date(name: &str, made: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema");
    let path = format!("{folder}/{name}.schema.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(folder).expect("the repository can be written");
        std::fs::write(&path, made).expect("the repository can be written");
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == made,
        "schema/{name}.schema.json is stale: run the test with UPDATE=1"
    );
}

#[test]
fn the_published_schema_is_up_to_date() {
    is_up_to_date("scenario", &seawall_scenario::schema());
}

#[test]
fn the_published_schema_of_the_gateway_is_up_to_date() {
    is_up_to_date("gateway", &seawall_scenario::deployment_schema());
}
