use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State as Shared;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

fn kubeconfig(address: std::net::SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
    )
}

/// An API that answers `/slow` only when told to, and counts how many wait.
struct Api {
    waiting: AtomicUsize,
    most: AtomicUsize,
    go: Semaphore,
}

async fn api(name: &'static str) -> (std::net::SocketAddr, Arc<Api>) {
    let api =
        Arc::new(Api { waiting: AtomicUsize::new(0), most: AtomicUsize::new(0), go: Semaphore::new(0) });
    let slow = async |Shared(api): Shared<Arc<Api>>| {
        let waiting = api.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        api.most.fetch_max(waiting, Ordering::SeqCst);
        api.go.acquire().await.unwrap().forget();
        api.waiting.fetch_sub(1, Ordering::SeqCst);
        "slow"
    };
    let routes = Router::new().route("/slow", get(slow)).route("/name", get(move || async move { name }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, routes.with_state(Arc::clone(&api))).into_future());
    (address, api)
}

async fn ask(client: &Client, path: &str) -> kube::Result<String> {
    client.request_text(Request::get(path).body(Vec::new()).unwrap()).await
}

fn limits(answer_within: Duration) -> Limits {
    Limits { urgent: 1, background: 2, answer_within }
}

async fn clients(directory: &Path, address: std::net::SocketAddr, answer_within: Duration) -> Clients {
    let path = directory.join("kubeconfig");
    std::fs::write(&path, kubeconfig(address)).unwrap();
    connect(Source::Kubeconfig(path), limits(answer_within)).await.unwrap()
}

#[tokio::test]
async fn a_burst_in_the_background_is_bounded_and_holds_up_nothing_urgent() {
    let directory = tempfile::tempdir().unwrap();
    let (address, api) = api("one").await;
    let clients = clients(directory.path(), address, ANSWER_WITHIN).await;
    let burst: Vec<_> = (0..8)
        .map(|_| {
            let client = clients.background.clone();
            tokio::spawn(async move { ask(&client, "/slow").await })
        })
        .collect();
    let full = async {
        while api.waiting.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(ANSWER_WITHIN, full).await.unwrap();
    assert_eq!(ask(&clients.urgent, "/name").await.unwrap(), "one");
    api.go.add_permits(8);
    for one in burst {
        assert_eq!(one.await.unwrap().unwrap(), "slow");
    }
    assert_eq!(api.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_error_and_gives_its_place_back() {
    let directory = tempfile::tempdir().unwrap();
    let (address, _api) = api("one").await;
    let clients = clients(directory.path(), address, Duration::from_millis(200)).await;
    let error = ask(&clients.urgent, "/slow").await.unwrap_err();
    assert!(chain(&error).contains("failed to get an answer"), "{error:?}");
    assert_eq!(ask(&clients.urgent, "/name").await.unwrap(), "one");
}

#[tokio::test]
async fn a_changed_kubeconfig_counts_and_a_damaged_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let ((one, _), (two, _)) = (api("one").await, api("two").await);
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig(one)).unwrap();
    let source = Source::Kubeconfig(path.clone());
    let made = make(&source, ANSWER_WITHIN).await.unwrap();
    let long_ago = Instant::now().checked_sub(LOOK_EVERY).unwrap();
    let current = Current { client: made, version: Version::of(&source).await, looked: Instant::now() };
    let connection = Connection { source, answer_within: ANSWER_WITHIN, current: Mutex::new(current) };
    let mut time = SystemTime::now();
    let mut write = |text: &str| {
        time += Duration::from_secs(1);
        std::fs::write(&path, text).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    write(&kubeconfig(two));
    assert_eq!(ask(&connection.client().await, "/name").await.unwrap(), "one", "it was looked at just now");
    for (text, name) in [(kubeconfig(two), "two"), ("{".to_owned(), "two"), (kubeconfig(one), "one")] {
        write(&text);
        connection.current.lock().await.looked = long_ago;
        assert_eq!(ask(&connection.client().await, "/name").await.unwrap(), name, "{text}");
    }
}

#[test]
fn only_a_watch_may_take_its_time() {
    let is = |uri: &str| is_watch(&Request::get(uri).body(Body::empty()).unwrap());
    assert!(is("/api/v1/pods?limit=5&watch=true") && is("/api/v1/pods?watch=1&x"));
    assert!(!is("/api/v1/pods?labelSelector=watch%3Dtrue") && !is("/watch") && !is("/?watch=false"));
}
