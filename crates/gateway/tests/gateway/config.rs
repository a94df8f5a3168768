//! The document while running: changed, replaced, wrong, overridden.

use std::path::Path;

use seawall_gateway::{Config, Gateway};

use crate::kit::{Folder, Origin, admin, document, fetch, until};

async fn places(gateway: &Gateway) -> serde_json::Value {
    admin(gateway, "GET", "/policies/queue", "").await.json()["gateway"]["places"].clone()
}

async fn started(path: &Path, environment: &[(&str, &str)]) -> Gateway {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::read(path)
        .expect("it was written")
        .environment(environment.collect());
    Gateway::start(config).await.expect("it is in order")
}

#[tokio::test]
async fn a_good_change_is_taken_over_and_a_bad_one_refused() {
    let origin = Origin::saying(&[("cache-control", "max-age=100")]).await;
    let folder = Folder::new("change");
    let file = folder.path().join("seawall.toml");
    let write = |more: &str| std::fs::write(&file, document(&[origin.address], more)).unwrap();
    write("[protect.queue]\nplaces = 7\n");
    let gateway = started(&file, &[]).await;
    assert_eq!(places(&gateway).await, 7);
    fetch(gateway.address(), "/").await;
    write("[protect.queue]\nplaces = 8\n");
    until("it is taken over", async || places(&gateway).await == 8).await;
    write("[protect.queue]\nplases = 9\n");
    until("it is refused", async || {
        admin(&gateway, "GET", "/metrics", "")
            .await
            .body
            .contains("gateway_config_refused 1")
    })
    .await;
    assert_eq!(places(&gateway).await, 8, "the old one is kept");
    let config = admin(&gateway, "GET", "/state", "").await.json()["config"].clone();
    let told = config["refused"][0].as_str().unwrap();
    assert!(
        told.contains("`queue` has no key `plases`") && told.contains("did you mean `places`?"),
        "{told}"
    );
    assert_eq!(
        (&config["reloads"], &config["reload_failures"]),
        (&1.into(), &1.into())
    );
    let ready = admin(&gateway, "GET", "/health/ready", "").await;
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"degraded".into()));
    let hit = fetch(gateway.address(), "/").await;
    assert!(
        hit.field("cache-status").contains("; hit"),
        "what is kept outlives a change"
    );
    write("[protect.queue]\nplaces = 10\n");
    until("it is taken over", async || places(&gateway).await == 10).await;
    assert_eq!(
        admin(&gateway, "GET", "/health/ready", "").await.json()["status"],
        "ready"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn the_swap_of_a_link_is_a_change() {
    use std::os::unix::fs::symlink;
    let origin = Origin::saying(&[]).await;
    let folder = Folder::new("link");
    for (name, places) in [("one", 7), ("two", 8)] {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let text = document(
            &[origin.address],
            &format!("[protect.queue]\nplaces = {places}\n"),
        );
        std::fs::write(folder.join("seawall.toml"), text).unwrap();
    }
    // As Kubernetes mounts a ConfigMap: seawall.toml -> ..data/seawall.toml, ..data -> a folder.
    symlink("one", folder.path().join("..data")).unwrap();
    symlink("..data/seawall.toml", folder.path().join("seawall.toml")).unwrap();
    let gateway = started(&folder.path().join("seawall.toml"), &[]).await;
    assert_eq!(places(&gateway).await, 7);
    symlink("two", folder.path().join("..data_tmp")).unwrap();
    std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    until("it is taken over", async || places(&gateway).await == 8).await;
}

#[tokio::test]
async fn variables_win_over_the_document_and_the_admin_api_over_both() {
    let origin = Origin::saying(&[]).await;
    let folder = Folder::new("variables");
    let file = folder.path().join("seawall.toml");
    let write = |places: u32| {
        let text = document(
            &[origin.address],
            &format!("[protect.queue]\nplaces = {places}\ntimeout = \"3s\"\n"),
        );
        std::fs::write(&file, text).unwrap();
    };
    write(7);
    let gateway = started(&file, &[("SEAWALL_REQUEST_QUEUE_SIZE", "500")]).await;
    assert_eq!(places(&gateway).await, 500);
    let changed = admin(&gateway, "PATCH", "/policies/queue", "{\"places\": 600}").await;
    assert_eq!(
        (changed.status, &changed.json()["gateway"]["places"]),
        (200, &600.into())
    );
    // Both outlive a change of the file, which is about something else as well.
    let text = document(
        &[origin.address],
        "[protect.queue]\nplaces = 8\ntimeout = \"4s\"\n",
    );
    std::fs::write(&file, text).unwrap();
    until("the file is taken over", async || {
        admin(&gateway, "GET", "/policies/queue", "").await.json()["gateway"]["timeout"] == "4s"
    })
    .await;
    assert_eq!(places(&gateway).await, 600);
    assert_eq!(admin(&gateway, "DELETE", "/policies/queue", "").await.status, 200);
    assert_eq!(places(&gateway).await, 500);
}

#[test]
fn the_same_table_is_simulated_and_deployed() {
    let protect = "[protect.queue]\nplaces = 7\n[protect.coalesce]\nwindow = \"5s\"\n[protect.stale]\non_error = \"10m\"\n";
    let scenario = format!(
        "title = \"t\"\n[run]\nduration = \"1s\"\n[client.web]\ncalls = \"app\"\nrate = \"1/s\"\n\
         keys = {{ uniform = {{ count = 1 }} }}\n[service.app]\nservice_time = \"1ms\"\n{protect}"
    );
    let simulated = seawall_scenario::Document::parse("s.toml", &scenario).unwrap();
    let simulated = simulated.scenario(seawall_scenario::AS_WRITTEN, &[]).unwrap();
    let deployed = Config::of_text("d.toml", document(&["127.0.0.1:1".parse().unwrap()], protect))
        .check()
        .unwrap();
    let settings = |list: Vec<&seawall_scenario::Protection>| -> Vec<_> {
        list.into_iter()
            .map(|protection| protection.setting.clone())
            .collect()
    };
    let deployed = settings(
        deployed
            .protections
            .iter()
            .map(|(_, protection)| protection)
            .collect(),
    );
    assert_eq!(settings(simulated.protections.iter().collect()), deployed);
    assert_eq!(deployed.len(), 3);
}
