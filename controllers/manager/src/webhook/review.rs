//! ConversionReview v1: request bytes in, response value out.
//!
//! Never answers with a part of the objects: one that cannot be converted fails the review, as the API
//! demands, and the message names it.

use bloomery_api::conversion;
use bloomery_platform::chain;
use serde_json::{Map, Value, json};

/// The one review version spoken.
const API_VERSION: &str = "apiextensions.k8s.io/v1";
/// Kind of a review.
const KIND: &str = "ConversionReview";

/// An answer and whether it is a good one.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The review to send back.
    pub review: Value,
    /// Why the conversion failed, if it did.
    pub failure: Option<String>,
}

/// Answers a review. Every input has an answer; without a readable `uid` it is empty.
pub fn answer(body: &[u8]) -> Answer {
    let mut review: Value = match serde_json::from_slice(body) {
        Ok(review) => review,
        Err(error) => return failed("", format!("failed to parse the review: {error}")),
    };
    let uid = review.pointer("/request/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let stated = |key: &str| review.get(key).and_then(Value::as_str).unwrap_or_default();
    if stated("apiVersion") != API_VERSION || stated("kind") != KIND {
        let got = format!("{} {}", stated("apiVersion"), stated("kind"));
        return failed(&uid, format!("failed to use the review: want {API_VERSION} {KIND}, got {got}"));
    }
    if uid.is_empty() {
        return failed("", "failed to use the review: request.uid is missing".to_owned());
    }
    let Some(desired) =
        review.pointer("/request/desiredAPIVersion").and_then(Value::as_str).map(str::to_owned)
    else {
        return failed(&uid, "failed to use the review: request.desiredAPIVersion is missing".to_owned());
    };
    let Some(Value::Array(objects)) = review.pointer_mut("/request/objects").map(Value::take) else {
        return failed(&uid, "failed to use the review: request.objects is missing".to_owned());
    };
    let converted: Result<Vec<Value>, _> =
        objects.into_iter().map(|object| conversion::convert(object, &desired)).collect();
    match converted {
        Ok(objects) => {
            let mut response = Map::new();
            response.insert("uid".to_owned(), Value::String(uid));
            response.insert("result".to_owned(), json!({ "status": "Success" }));
            // Moved and not written with `json!`, which would copy every object.
            response.insert("convertedObjects".to_owned(), Value::Array(objects));
            Answer { review: review_of(response), failure: None }
        }
        Err(error) => failed(&uid, chain(&error)),
    }
}

/// The answer to a request that cannot be served.
pub fn failed(uid: &str, message: String) -> Answer {
    let mut response = Map::new();
    response.insert("uid".to_owned(), json!(uid));
    response.insert("result".to_owned(), json!({ "status": "Failure", "message": message }));
    Answer { review: review_of(response), failure: Some(message) }
}

fn review_of(response: Map<String, Value>) -> Value {
    let mut review = Map::new();
    review.insert("apiVersion".to_owned(), json!(API_VERSION));
    review.insert("kind".to_owned(), json!(KIND));
    review.insert("response".to_owned(), Value::Object(response));
    Value::Object(review)
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
