//! One declaration of an element of the document: its fields, their spelling, defaults and descriptions.
//!
//! From the one declaration come the struct that engines read, the reader that knows every key, and the schema.
//! A field is `named` (the element's name in the document), `required`, `optional`, or has a `default`. The key in
//! the document is the field's name (without a trailing underscore, which keeps words such as `for` out of Rust's
//! way); the type after the keyword is the form in which the value is spelled.

use serde_json::{Map, Value as Json, json};

/// A field of an element, for the schema.
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) schema: Json,
    pub(crate) default: Json,
    pub(crate) required: bool,
}

/// The schema of a table with these fields and no others.
pub(crate) fn object(about: &str, fields: Vec<Field>) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        let mut schema = match field.schema {
            Json::Object(schema) => schema,
            other => Map::from_iter([("const".to_owned(), other)]),
        };
        schema.insert("description".to_owned(), json!(field.doc));
        if !field.default.is_null() {
            schema.insert("default".to_owned(), field.default);
        }
        if field.required {
            required.push(json!(field.key));
        }
        properties.insert(field.key.to_owned(), Json::Object(schema));
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false
    });
    if !about.is_empty() {
        object["description"] = json!(about.trim());
    }
    if !required.is_empty() {
        object["required"] = Json::Array(required);
    }
    object
}

/// The key of a field.
pub(crate) const fn key(field: &'static str) -> &'static str {
    let bytes = field.as_bytes();
    if bytes[bytes.len() - 1] == b'_' {
        field.split_at(bytes.len() - 1).0
    } else {
        field
    }
}

macro_rules! element {
    (
        $(#[doc = $about:literal])+
        $(#[derive($derive:ident)])?
        $vis:vis struct $name:ident, $what:literal $(, check = $check:path)? {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty, $mode:ident $($form:ty)? $(= $default:expr)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq $(, $derive)?)]
        $vis struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl $crate::form::Form for $name {
            type Out = $name;

            fn read(cx: &mut $crate::reader::Reader, node: &$crate::node::Node) -> Option<$name> {
                let keys = [$($crate::element::element!(@key $crate::element::key(stringify!($field)), $mode),)+];
                let keys: Vec<&str> = keys.into_iter().flatten().collect();
                cx.table(node, $what, &keys)?;
                $(let $field: Option<$type> = $crate::element::element!(
                    @read cx, node, $what, $crate::element::key(stringify!($field)), concat!($($doc),+),
                    $mode $($form)? $(= $default)?
                );)+
                let value = $name { $($field: $field?,)+ };
                $($check(cx, node, &value);)?
                Some(value)
            }

            fn schema() -> serde_json::Value {
                let fields = [$($crate::element::element!(
                    @field $crate::element::key(stringify!($field)), concat!($($doc),+).trim(),
                    $mode $($form)? $(= $default)?
                ),)+];
                let fields = fields.into_iter().flatten().collect();
                $crate::element::object(concat!($($about),+), fields)
            }
        }
    };
    // A name is the table's own key, and none within it.
    (@key $key:expr, named) => {
        None
    };
    (@key $key:expr, $mode:ident) => {
        Some($key)
    };
    (@read $cx:ident, $node:ident, $what:literal, $key:expr, $doc:expr, named) => {
        Some($cx.name.clone())
    };
    (@read $cx:ident, $node:ident, $what:literal, $key:expr, $doc:expr, required $form:ty) => {
        match $node.field($key) {
            Some(value) => <$form as $crate::form::Form>::read($cx, value),
            None => {
                $cx.missing($node, $what, $key, $doc);
                None
            }
        }
    };
    (@read $cx:ident, $node:ident, $what:literal, $key:expr, $doc:expr, optional $form:ty) => {
        match $node.field($key) {
            Some(value) => <$crate::form::Maybe<$form> as $crate::form::Form>::read($cx, value),
            None => Some(None),
        }
    };
    (@read $cx:ident, $node:ident, $what:literal, $key:expr, $doc:expr, default $form:ty = $default:expr) => {
        match $node.field($key) {
            Some(value) => <$form as $crate::form::Form>::read($cx, value),
            None => Some($default),
        }
    };
    (@field $key:expr, $doc:expr, named) => {
        None
    };
    (@field $key:expr, $doc:expr, required $form:ty) => {
        Some($crate::element::Field {
            key: $key,
            doc: $doc,
            schema: <$form as $crate::form::Form>::schema(),
            default: serde_json::Value::Null,
            required: true,
        })
    };
    (@field $key:expr, $doc:expr, optional $form:ty) => {
        Some($crate::element::Field {
            key: $key,
            doc: $doc,
            schema: <$crate::form::Maybe<$form> as $crate::form::Form>::schema(),
            default: serde_json::Value::Null,
            required: false,
        })
    };
    (@field $key:expr, $doc:expr, default $form:ty = $default:expr) => {
        Some($crate::element::Field {
            key: $key,
            doc: $doc,
            schema: <$form as $crate::form::Form>::schema(),
            default: <$form as $crate::form::Form>::spell(&$default),
            required: false,
        })
    };
}

/// The form of settings that are declared elsewhere and have a default: each key that is there changes one field.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $type:ty, $what:literal $(, check = $check:path)? {
            $($(#[doc = $doc:literal])+ $field:ident: $form:ty;)+
        }
    ) => {
        impl $crate::form::Form for $type {
            type Out = $type;

            fn read(cx: &mut $crate::reader::Reader, node: &$crate::node::Node) -> Option<$type> {
                cx.table(node, $what, &[$(stringify!($field),)+])?;
                let mut settings = <$type>::default();
                let mut whole = true;
                $(if let Some(value) = node.field(stringify!($field)) {
                    match <$form as $crate::form::Form>::read(cx, value) {
                        Some(value) => settings.$field = value,
                        None => whole = false,
                    }
                })+
                if !whole {
                    return None;
                }
                $($check(cx, node, &mut settings);)?
                Some(settings)
            }

            fn schema() -> serde_json::Value {
                let settings = <$type>::default();
                $crate::element::object(concat!($($about),+), vec![$($crate::element::Field {
                    key: stringify!($field),
                    doc: concat!($($doc),+).trim(),
                    schema: <$form as $crate::form::Form>::schema(),
                    default: <$form as $crate::form::Form>::spell(&settings.$field),
                    required: false,
                },)+])
            }

            fn spell(out: &$type) -> serde_json::Value {
                serde_json::json!({ $(stringify!($field): <$form as $crate::form::Form>::spell(&out.$field)),+ })
            }
        }
    };
}

/// The form of an enum whose variants have no fields.
macro_rules! words {
    ($type:ty, $what:literal { $($word:literal = $variant:ident),+ $(,)? }) => {
        impl $crate::form::Form for $type {
            type Out = $type;
            fn read(cx: &mut $crate::reader::Reader, node: &$crate::node::Node) -> Option<$type> {
                match cx.word(node, $what, &[$($word),+])? {
                    $($word => Some(<$type>::$variant),)+
                    _ => None,
                }
            }
            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
            fn spell(out: &$type) -> serde_json::Value {
                $(if *out == <$type>::$variant { return serde_json::json!($word); })+
                serde_json::Value::Null
            }
        }
    };
}

/// The form of an enum, spelled `"word"` or `{ word = { field = … } }`; `{ word = … }` gives the first field alone.
macro_rules! tagged {
    (
        $form:ident => $type:ident, $what:literal {
            $(
                $(#[doc = $doc:literal])+
                $word:literal = $variant:ident $({ $($field:ident: $of:ty $(= $default:expr)?),+ })?;
            )+
        }
    ) => {
        impl $crate::form::Form for $form {
            type Out = $type;

            fn read(cx: &mut $crate::reader::Reader, node: &$crate::node::Node) -> Option<$type> {
                const WORDS: &[&str] = &[$($word),+];
                let (word, body) = cx.tag(node, $what, WORDS)?;
                $(if word == $word {
                    return $crate::element::tagged!(
                        @variant cx, node, body, $word, $type, $variant $({ $($field: $of $(= $default)?),+ })?
                    );
                })+
                None
            }

            fn schema() -> serde_json::Value {
                let of: Vec<serde_json::Value> = [$($crate::element::tagged!(
                    @schema $word, concat!($($doc),+), $({ $($field: $of $(= $default)?),+ })?
                ),)+].into_iter().flatten().collect();
                serde_json::json!({ "anyOf": of })
            }
        }
    };
    (@variant $cx:ident, $node:ident, $body:ident, $word:literal, $type:ident, $variant:ident) => {{
        // `{ word = {} }` and `{ word = true }` are as good as `"word"`.
        let plain = std::ptr::eq($node, $body)
            || matches!(&$body.value, $crate::node::Value::Flag(true))
            || matches!(&$body.value, $crate::node::Value::Table(entries) if entries.is_empty());
        if !plain {
            $cx.mistake(
                $body.at,
                concat!("`", $word, "` has no settings"),
                "not needed",
                concat!("write \"", $word, "\""),
            );
        }
        plain.then_some($type::$variant)
    }};
    (@variant $cx:ident, $node:ident, $body:ident, $word:literal, $type:ident, $variant:ident
        { $($field:ident: $of:ty $(= $default:expr)?),+ }
    ) => {{
        const KEYS: &[&str] = &[$($crate::element::key(stringify!($field))),+];
        let alone = std::ptr::eq($node, $body);
        let table = matches!(&$body.value, $crate::node::Value::Table(_));
        if table {
            $cx.table($body, concat!("`", $word, "`"), KEYS)?;
        }
        $(let $field = {
            let key = $crate::element::key(stringify!($field));
            let value = if alone {
                None
            } else if table {
                $body.field(key)
            } else {
                (key == KEYS[0]).then_some($body)
            };
            match value {
                Some(value) => <$of as $crate::form::Form>::read($cx, value),
                None => $crate::element::tagged!(@absent $cx, $body, $word, key $(= $default)?),
            }
        };)+
        Some($type::$variant { $($field: $field?),+ })
    }};
    (@absent $cx:ident, $body:ident, $word:literal, $key:ident) => {{
        $cx.absent($body, $word, $key);
        None
    }};
    (@absent $cx:ident, $body:ident, $word:literal, $key:ident = $default:expr) => {
        Some($default)
    };
    (@schema $word:literal, $doc:expr,) => {
        vec![serde_json::json!({ "const": $word, "description": $doc.trim() })]
    };
    (@schema $word:literal, $doc:expr, { $($field:ident: $form:ty $(= $default:expr)?),+ }) => {{
        let mut body = serde_json::json!({
            "type": "object",
            "properties": {
                $($crate::element::key(stringify!($field)): <$form as $crate::form::Form>::schema()),+
            },
            "additionalProperties": false
        });
        let fields: &[(&str, bool)] = &[$((
            $crate::element::key(stringify!($field)), $crate::element::tagged!(@required $($default)?)
        )),+];
        let required: Vec<&str> = fields.iter().filter(|field| field.1).map(|field| field.0).collect();
        let alone = required
            .is_empty()
            .then(|| serde_json::json!({ "const": $word, "description": $doc.trim() }));
        if alone.is_none() {
            body["required"] = serde_json::json!(required);
        }
        let properties = &body["properties"][fields[0].0];
        let body = if required.len() <= 1 {
            serde_json::json!({ "anyOf": [properties, body] })
        } else {
            body
        };
        let table = serde_json::json!({
            "type": "object",
            "description": $doc.trim(),
            "properties": { $word: body },
            "required": [$word],
            "additionalProperties": false
        });
        alone.into_iter().chain([table]).collect::<Vec<_>>()
    }};
    (@required) => { true };
    (@required $default:expr) => { false };
}
pub(crate) use {element, settings, tagged, words};
