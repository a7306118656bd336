//! The agent's words for what a disk holds are the plane's words: each has the class that it should have.

use bloomery_agent_api::contents::{DATA, SYSTEM, WORDS};
use bloomery_api::contents::{ContentsClass, UNRECOGNISED};

#[test]
fn every_word_of_the_agent_has_its_class() {
    assert_eq!(DATA, UNRECOGNISED);
    for word in WORDS {
        let class = if SYSTEM.contains(&word) { ContentsClass::System } else { ContentsClass::Data };
        assert_eq!(ContentsClass::of_word(word), class, "{word}");
    }
}
