//! What a coordinator lets pass and what it refuses, rule by rule.
