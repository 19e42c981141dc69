//! JSON Schema and field lists.
