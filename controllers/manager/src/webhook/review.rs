//! ConversionReview v1: request bytes in, response value out.
//!
//! Never answers with a part of the objects: one that cannot be converted fails the review, as the API
//! demands, and the message names it.

use bloomery_api::conversion;
use bloomery_platform::chain;
use serde_json::{Value, json};

const API_VERSION: &str = "apiextensions.k8s.io/v1";
const KIND: &str = "ConversionReview";

/// An answer and whether it is a good one.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub review: Value,
    /// Why the conversion failed, if it did.
    pub failure: Option<String>,
}

/// Answers a review. Every input has an answer; without a readable `uid` it is empty.
pub fn answer(body: &[u8]) -> Answer {
    let (uid, mut request) = match super::request(body, API_VERSION, KIND) {
        Ok(found) => found,
        Err((uid, problem)) => return failed(&uid, problem),
    };
    match convert(&mut request) {
        Ok(objects) => {
            let mut response = json!({ "uid": uid, "result": { "status": "Success" } });
            response["convertedObjects"] = Value::Array(objects);
            Answer { review: super::answered(API_VERSION, KIND, response), failure: None }
        }
        Err(problem) => failed(&uid, problem),
    }
}

fn convert(request: &mut Value) -> Result<Vec<Value>, String> {
    let missing = |what: &str| format!("failed to use the review: request.{what} is missing");
    let desired = request.get("desiredAPIVersion").and_then(Value::as_str).map(str::to_owned);
    let desired = desired.ok_or_else(|| missing("desiredAPIVersion"))?;
    let Some(Value::Array(objects)) = request.get_mut("objects").map(Value::take) else {
        return Err(missing("objects"));
    };
    let converted = objects.into_iter().map(|object| conversion::convert(object, &desired));
    converted.collect::<Result<_, _>>().map_err(|error| chain(&error))
}

/// The answer to a request that cannot be served.
fn failed(uid: &str, message: String) -> Answer {
    let response = json!({ "uid": uid, "result": { "status": "Failure", "message": message } });
    Answer { review: super::answered(API_VERSION, KIND, response), failure: Some(message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn review(objects: &Value, desired: &str) -> Vec<u8> {
        let request = json!({ "uid": "u1", "desiredAPIVersion": desired, "objects": objects });
        serde_json::to_vec(&json!({ "apiVersion": API_VERSION, "kind": KIND, "request": request })).unwrap()
    }

    #[test]
    fn objects_come_back_in_order_and_version() {
        let object = |name: &str| json!({ "apiVersion": "metal.sidero.dev/v1alpha1", "kind": "Environment", "metadata": { "name": name } });
        let answer = answer(&review(&json!([object("b"), object("a")]), "metal.sidero.dev/v1alpha2"));
        assert_eq!(answer.failure, None);
        let response = &answer.review["response"];
        assert_eq!(response["uid"], "u1");
        assert_eq!(response["result"]["status"], "Success");
        assert_eq!(response["convertedObjects"][0]["metadata"]["name"], "b");
        assert_eq!(response["convertedObjects"][1]["apiVersion"], "metal.sidero.dev/v1alpha2");
    }

    #[test]
    fn malformed_reviews_get_a_failure_that_says_why() {
        let foreign = json!([{ "apiVersion": "v1", "kind": "Pod" }]);
        let cases: &[(Vec<u8>, &str, &str)] = &[
            (b"{".to_vec(), "", "failed to parse the review"),
            (b"[]".to_vec(), "", "failed to use the review: want"),
            (b"{\"request\":{\"uid\":\"u1\"}}".to_vec(), "u1", "failed to use the review: want"),
            (review(&json!({}), "x/v1"), "u1", "request.objects is missing"),
            (review(&json!([7]), "x/v1"), "u1", "the object is missing or not of the right type"),
            (review(&foreign, "metal.sidero.dev/v1alpha2"), "u1", "failed to convert Pod from v1"),
        ];
        for (body, uid, message) in cases {
            let answer = answer(body);
            assert_eq!(answer.review["response"]["uid"], *uid);
            assert_eq!(answer.review["response"]["result"]["status"], "Failure");
            assert!(answer.failure.unwrap().contains(message), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_crash_it(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(answer(&body).failure.is_some());
        }
    }
}
