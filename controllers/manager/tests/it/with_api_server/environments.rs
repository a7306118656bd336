//! Environments from creation to deletion, against a real API server and a web server that misbehaves.

use bloomery_api::condition::ConditionStatus;
use bloomery_api::{Environment, Server};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::support::bench::Bench;
use crate::support::site::{Reply, Site};
use bloomery_testkit::eventually;

const TAG: &str = "\"one\"";

fn environment(name: &str, kernel: &str, sha512: &str, initrd: &str) -> Environment {
    serde_json::from_value(json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Environment", "metadata": { "name": name },
        "spec": { "kernel": { "url": kernel, "sha512": sha512 }, "initrd": { "url": initrd } },
    }))
    .unwrap()
}

fn sha512(bytes: &[u8]) -> String {
    format!("{:x}", Sha512::digest(bytes))
}

impl Bench {
    async fn create(&self, environment: &Environment) {
        self.all::<Environment>().create(&PostParams::default(), environment).await.unwrap();
    }

    /// Waits until the conditions are these: URL, digest asked for, and whether the file is here.
    async fn until_conditions(&self, name: &str, expected: &[(&str, &str, bool)]) {
        let environments: Api<Environment> = self.all();
        eventually(&format!("Environment {name} is {expected:?}"), async || {
            let environment = environments.get(name).await.map_err(|error| error.to_string())?;
            let status = environment.status.clone().unwrap_or_default();
            let found: Vec<_> = status
                .conditions
                .iter()
                .map(|c| (c.url.as_str(), c.sha512.as_str(), c.status == ConditionStatus::True))
                .collect();
            if found != expected {
                return Err(format!("{found:?}"));
            }
            let wire = serde_json::to_value(&status.conditions[0]).unwrap();
            assert!(
                wire.as_object()
                    .unwrap()
                    .keys()
                    .all(|key| ["url", "sha512", "status", "type"].contains(&&**key))
            );
            assert_eq!(environment.is_ready(), expected.iter().all(|(_, _, here)| *here));
            Ok(())
        })
        .await;
    }

    async fn until_event(&self, type_: &str, parts: &[&str]) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        eventually(&format!("there is an event with {parts:?}"), async || {
            let list = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let messages: Vec<String> = list
                .items
                .into_iter()
                .filter(|event| event.type_.as_deref() == Some(type_))
                .filter_map(|event| event.message)
                .collect();
            let found = messages.iter().any(|message| parts.iter().all(|part| message.contains(part)));
            if found { Ok(()) } else { Err(format!("{messages:#?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_asset_that_fails_leaves_the_other_alone_and_says_why() {
    let (bench, controllers) = Bench::with_controllers().await;
    let site = Site::start(|asked| match asked.path.as_str() {
        "/k" => Reply::file(asked, TAG, b"kernel").broken(if asked.before < 2 { 3 } else { 0 }),
        "/moved" => Reply::raw("302 Found\r\nLocation: /i\r\nContent-Length: 0", b""),
        "/i" => Reply::file(asked, TAG, b"initramfs"),
        "/liar" => Reply::raw("200 OK\r\nContent-Length: 100", b"initramfs"),
        _ => Reply::raw("404 Not Found\r\nContent-Length: 0", b""),
    })
    .await;
    let (kernel, initrd, gone) = (site.url("/k"), site.url("/moved"), site.url("/gone"));
    let (digest, wrong) = (sha512(b"kernel"), "0".repeat(128));

    // Broken off twice and redirected, and yet here.
    bench.create(&environment("good", &kernel, &digest, &initrd)).await;
    bench.until_conditions("good", &[(&kernel, &digest, true), (&initrd, "", true)]).await;
    let file = |name: &str, file: &str| std::fs::read(controllers.environments.join(name).join(file)).ok();
    assert_eq!(file("good", "vmlinuz").unwrap(), b"kernel");
    assert_eq!(file("good", "initramfs.xz").unwrap(), b"initramfs");
    bench.until_event("Normal", &["vmlinuz", &kernel, "is here: 6 bytes", &digest]).await;

    bench.create(&environment("half", &kernel, &digest, &gone)).await;
    bench.until_conditions("half", &[(&kernel, &digest, true), (&gone, "", false)]).await;
    bench.until_event("Warning", &["initramfs.xz", &gone, "404 Not Found"]).await;

    bench.create(&environment("wrong", &kernel, &wrong, &initrd)).await;
    bench.until_conditions("wrong", &[(&kernel, &wrong, false), (&initrd, "", true)]).await;
    bench.until_event("Warning", &["vmlinuz", &digest, &wrong]).await;
    assert_eq!(file("wrong", "vmlinuz"), None);

    let liar = site.url("/liar");
    bench.create(&environment("liar", "ftp://site/k", "", &liar)).await;
    bench.until_conditions("liar", &[("ftp://site/k", "", false), (&liar, "", false)]).await;
    bench.until_event("Warning", &["ftp://site/k", "want http, https or file"]).await;
    bench.until_event("Warning", &["initramfs.xz", &liar, "failed to get"]).await;
    assert_eq!(file("liar", "initramfs.xz"), None);

    // The same URL for three Environments was fetched as few times as it broke off, and once more.
    let asked = site.asked().iter().filter(|asked| asked.path == "/i").count();
    assert_eq!(asked, 1, "the others are links");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_follow_changes_of_the_spec_of_the_files_and_of_the_assets() {
    let (bench, controllers) = Bench::with_controllers().await;
    let site = Site::start(|asked| match asked.path.as_str() {
        "/held" => Reply::file(asked, TAG, b"kernel two").broken(5).silent(),
        path => Reply::file(asked, TAG, path.as_bytes()),
    })
    .await;
    let (one, held, three) = (site.url("/one"), site.url("/held"), site.url("/three"));
    let asset = controllers.assets.join("i");
    std::fs::write(&asset, "initramfs").unwrap();
    let initrd = format!("file://{}", asset.display());
    bench.create(&environment("e", &one, "", &initrd)).await;
    bench.until_conditions("e", &[(&one, "", true), (&initrd, "", true)]).await;
    let directory = controllers.environments.join("e");
    let kernel = directory.join("vmlinuz");

    // Another URL: the old file serves on, but the Environment is not ready, while the new one comes.
    let url = |url: &str| json!({ "spec": { "kernel": { "url": url } } });
    bench.patch::<Environment>("e", url(&held)).await;
    bench.until_conditions("e", &[(&held, "", false), (&initrd, "", true)]).await;
    eventually("the new one comes", async || {
        let part = std::fs::metadata(directory.join(".vmlinuz.part")).map_err(|error| error.to_string())?;
        let asked = site.asked().len();
        if asked == 2 { Ok(()) } else { Err(format!("{asked} requests, {} bytes", part.len())) }
    })
    .await;
    assert_eq!(std::fs::read(&kernel).unwrap(), b"/one");

    // And a third, before the second has come.
    bench.patch::<Environment>("e", url(&three)).await;
    bench.until_conditions("e", &[(&three, "", true), (&initrd, "", true)]).await;
    assert_eq!(std::fs::read(&kernel).unwrap(), b"/three");

    // A file that is changed or lost is fetched again; so is an asset that was replaced.
    std::fs::write(&kernel, "scribble").unwrap();
    std::fs::remove_file(directory.join("initramfs.xz")).unwrap();
    std::fs::write(&asset, "another initramfs").unwrap();
    bench.patch::<Environment>("e", json!({ "metadata": { "labels": { "look": "again" } } })).await;
    eventually("both files are right again", async || {
        let found = (std::fs::read(&kernel), std::fs::read(directory.join("initramfs.xz")));
        match &found {
            (Ok(kernel), Ok(initrd)) if kernel == b"/three" && initrd == b"another initramfs" => Ok(()),
            _ => Err(format!("{found:?}")),
        }
    })
    .await;
    bench.until_event("Warning", &["vmlinuz", &three, "was removed"]).await;

    // Nothing outside of the assets is given out.
    let secret = bench.plane.directory().join("ca.crt");
    std::os::unix::fs::symlink(&secret, controllers.assets.join("link")).unwrap();
    for path in [format!("{}/link", controllers.assets.display()), secret.display().to_string()] {
        let outside = format!("file://{path}");
        bench.patch::<Environment>("e", url(&outside)).await;
        bench.until_conditions("e", &[(&outside, "", false), (&initrd, "", true)]).await;
        bench.until_event("Warning", &[&outside]).await;
        assert_eq!(std::fs::read(&kernel).unwrap(), b"/three");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_for_arm64_are_fetched_when_the_first_such_machine_waits_for_them() {
    let (bench, controllers) = Bench::with_controllers().await;
    let site = Site::start(|asked| Reply::file(asked, TAG, asked.path.as_bytes())).await;
    let (kernel, initrd) = (site.url("/k"), site.url("/i"));
    let mut lazy = environment("lazy", &kernel, "", &initrd);
    lazy.metadata.annotations = Some([("bloomery.dev/fetch".to_owned(), "on-demand".to_owned())].into());
    bench.create(&lazy).await;
    bench.until_conditions("lazy", &[(&kernel, "", false), (&initrd, "", false)]).await;

    // A machine of another architecture, or of none that was noted, changes nothing; what is asked for comes.
    let server = |name: &str, labels: Value| -> Server {
        let object = json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
            "metadata": { "name": name, "labels": labels }, "spec": { "accepted": false },
        });
        serde_json::from_value(object).unwrap()
    };
    let servers: Api<Server> = bench.all();
    let amd64 = server("4c4c4544-0042-3110-8051-b7c04f4e3331", json!({ "bloomery.dev/arch": "amd64" }));
    servers.create(&PostParams::default(), &amd64).await.unwrap();
    let own = site.url("/own");
    bench.create(&environment("eager", &own, "", &own)).await;
    bench.until_conditions("eager", &[(&own, "", true), (&own, "", true)]).await;
    bench.patch::<Environment>("lazy", json!({ "metadata": { "labels": { "look": "again" } } })).await;
    bench.until_conditions("lazy", &[(&kernel, "", false), (&initrd, "", false)]).await;
    assert!(site.asked().iter().all(|asked| asked.path == "/own"), "{:?}", site.asked());
    let file = |file: &str| std::fs::read(controllers.environments.join("lazy").join(file)).ok();
    assert_eq!((file("vmlinuz"), file("initramfs.xz")), (None, None));

    let arm64 = server("4c4c4544-0042-3110-8051-b7c04f4e3332", json!({ "bloomery.dev/arch": "arm64" }));
    servers.create(&PostParams::default(), &arm64).await.unwrap();
    bench.until_conditions("lazy", &[(&kernel, "", true), (&initrd, "", true)]).await;
    assert_eq!(file("vmlinuz").unwrap(), b"/k");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_deleted_environments_go_at_once_and_at_the_next_start() {
    let (bench, mut controllers) = Bench::with_controllers().await;
    let site = Site::start(|asked| Reply::file(asked, TAG, b"file")).await;
    let (kernel, initrd) = (site.url("/k"), site.url("/i"));
    let environments: Api<Environment> = bench.all();
    for name in ["first", "second", "kept"] {
        bench.create(&environment(name, &kernel, "", &initrd)).await;
        bench.until_conditions(name, &[(&kernel, "", true), (&initrd, "", true)]).await;
    }
    let gone = async |directory: std::path::PathBuf| {
        eventually("the files are gone", async || {
            if directory.exists() { Err(format!("{} is there", directory.display())) } else { Ok(()) }
        })
        .await;
    };
    environments.delete("first", &DeleteParams::default()).await.unwrap();
    gone(controllers.environments.join("first")).await;

    let id = nix::unistd::Pid::from_raw(i32::try_from(controllers.process.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(controllers.process.wait().await.success(), "{}", controllers.process.output());
    environments.delete("second", &DeleteParams::default()).await.unwrap();
    let asked = site.asked().len();
    let controllers = bench.setup.run(&bench.plane).await;
    gone(controllers.environments.join("second")).await;
    bench.until_conditions("kept", &[(&kernel, "", true), (&initrd, "", true)]).await;
    assert!(controllers.environments.join("kept/vmlinuz").exists());
    assert_eq!(site.asked().len(), asked, "what is here is not fetched again");

    let columns = environment_columns(&bench).await;
    assert_eq!(columns[0][..4], [json!("default"), Value::Null, Value::Null, Value::Null]);
    assert_eq!(columns[2][..4], [json!("kept"), json!(kernel), json!(initrd), json!("True")]);
}

async fn environment_columns(bench: &Bench) -> Vec<Vec<Value>> {
    let request = http::Request::get("/apis/metal.sidero.dev/v1alpha2/environments")
        .header("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")
        .body(Vec::new())
        .unwrap();
    let table: Value = bench.client.request(request).await.unwrap();
    let rows = table["rows"].as_array().unwrap();
    rows.iter().map(|row| row["cells"].as_array().unwrap().clone()).collect()
}
