//! One statement and its parameters. No statement is named or prepared beforehand, so that a pool
//! between us and the server can give each transaction another connection.

use tokio_postgres::types::{ToSql, Type};

/// A statement.
pub(crate) struct Statement<'a> {
    pub(crate) sql: String,
    parameters: Vec<Parameter<'a>>,
}

/// A parameter of a statement.
pub(crate) enum Parameter<'a> {
    Bytes(&'a [u8]),
    ManyBytes(Vec<&'a [u8]>),
    Int(i32),
    ManyInts(Vec<i32>),
    Long(i64),
    ManyLongs(Vec<i64>),
}

impl<'a> Statement<'a> {
    pub(crate) fn new(sql: impl Into<String>, parameters: Vec<Parameter<'a>>) -> Self {
        Self { sql: sql.into(), parameters }
    }

    /// Returns the parameters with their types, which the server does not have to find out.
    pub(crate) fn typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.parameters
            .iter()
            .map(|parameter| match parameter {
                Parameter::Bytes(bytes) => (bytes as &(dyn ToSql + Sync), Type::BYTEA),
                Parameter::ManyBytes(all) => (all as _, Type::BYTEA_ARRAY),
                Parameter::Int(number) => (number as _, Type::INT4),
                Parameter::ManyInts(all) => (all as _, Type::INT4_ARRAY),
                Parameter::Long(number) => (number as _, Type::INT8),
                Parameter::ManyLongs(all) => (all as _, Type::INT8_ARRAY),
            })
            .collect()
    }
}

/// Returns a number as the server stores it. Counts of a vault are at most 2^53.
pub(crate) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
