//! One declaration of an element of the document: its fields, their spelling, defaults and descriptions.
//!
//! From the one declaration come the struct that engines read, the reader that knows every key, and the schema.
//! A field is `named` (the element's name in the document), `required`, `optional`, or has a `default`. The key in
//! the document is the field's name (without a trailing underscore, which keeps words such as `for` out of Rust's
//! way); the type after the keyword is the form in which the value is spelled.

macro_rules! element {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident $(, check = $check:path)? {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty, $mode:ident $($form:ty)? $(= $default:expr)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }
    };
}
pub(crate) use element;
