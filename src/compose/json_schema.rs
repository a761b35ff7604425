//! The vocabulary as a JSON schema, for editors.
//!
//! In: the rules of `schema`. Out: a JSON schema (draft 2020-12), one definition a shape. Which scalars a rule takes is
//! asked of `check`, so that both can't differ. It says nothing about meanings that only `canon` and `bind` know.
//! Imports: `check`, `schema`, `tree`.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json, json};

use super::check::{NAME, beside_text, fits};
use super::schema::{EXTERNAL, Field, PROJECT, Rule, Shape, ULIMIT};
use super::tree::Value;

/// The schema of a compose file as hoist reads it.
pub fn json_schema() -> Json {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<ComposeFile>().to_value()
}

/// What the schema is of.
struct ComposeFile;

impl JsonSchema for ComposeFile {
    fn schema_name() -> Cow<'static, str> {
        "Compose file".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut sections = Map::new();
        for field in PROJECT.all() {
            let schema = match &field.rule {
                // Names of services and resources follow a rule, those of other mappings don't.
                Rule::Each(rule) => json_schema!({
                    "type": "object",
                    "patternProperties": { (NAME): of(rule, generator) },
                    "additionalProperties": false,
                }),
                rule => of(rule, generator),
            };
            sections.insert(field.name.to_owned(), described(field, schema));
        }
        mapping(&PROJECT, sections)
    }
}

/// A mapping with known keys.
fn mapping(shape: &Shape, properties: Map<String, Json>) -> Schema {
    let mut schema = json_schema!({
        "description": shape.about.trim(),
        "type": "object",
        "properties": properties,
        "patternProperties": { "^x-": true },
        "additionalProperties": false,
    });
    if !shape.required.is_empty() {
        schema.insert("required".to_owned(), json!(shape.required));
    }
    schema
}

/// A reference to a shape's definition, which is added where it is not there yet.
fn reference(shape: &'static Shape, generator: &mut SchemaGenerator) -> Schema {
    let name = shape.name.to_lowercase();
    if !generator.definitions().contains_key(&name) {
        // The place is taken first: definitions stand in the order in which they are come upon.
        generator.definitions_mut().insert(name.clone(), Json::Null);
        let mut properties = Map::new();
        for field in shape.fields {
            let schema = of(&field.rule, generator);
            properties.insert(field.name.to_owned(), described(field, schema));
        }
        if let Some((other, _)) = shape.also {
            let other = reference(other, generator);
            let place = other.get("$ref").and_then(Json::as_str).unwrap_or_default();
            for field in shape.all().skip(shape.fields.len()) {
                let place = format!("{place}/properties/{}", field.name);
                properties.insert(field.name.to_owned(), json!({ "$ref": place }));
            }
        }
        let definition = mapping(shape, properties).to_value();
        generator.definitions_mut().insert(name.clone(), definition);
    }
    Schema::new_ref(format!("#/$defs/{name}"))
}

/// A schema with what its key means and what holds without it.
fn described(field: &Field, mut schema: Schema) -> Json {
    schema.insert("description".to_owned(), field.about.trim().into());
    if let Some(text) = field.default {
        let value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
        schema.insert("default".to_owned(), value);
    }
    schema.to_value()
}

/// What a rule allows.
fn of(rule: &'static Rule, generator: &mut SchemaGenerator) -> Schema {
    let mut ways: Vec<Schema> = scalars(rule).into_iter().collect();
    match rule {
        Rule::Any => return true.into(),
        Rule::Own(shape) => return reference(shape, generator),
        Rule::Choice(words) => ways.push(choice(words)),
        Rule::Nullable(rule) => ways.push(of(rule, generator)),
        Rule::Object(shape) | Rule::Short(_, shape) => ways.push(reference(shape, generator)),
        Rule::External => ways.push(reference(&EXTERNAL, generator)),
        Rule::Ulimit => ways.push(reference(&ULIMIT, generator)),
        Rule::Each(rule) => ways.push(each(of(rule, generator))),
        Rule::List(rule) | Rule::OneOrList(rule) => ways.push(list(of(rule, generator))),
        Rule::AllOrList(rule) => {
            ways.push(choice(&["all"]));
            ways.push(list(of(rule, generator)));
        }
        Rule::Named(_, rule) => {
            ways.push(list(of(&Rule::Text, generator)));
            ways.push(each(of(rule, generator)));
        }
        Rule::Texts | Rule::Command | Rule::Test => ways.push(list(of(&Rule::Text, generator))),
        Rule::Set | Rule::Unique | Rule::TextOrSet | Rule::TextOrUnique => {
            ways.push(list(of(&Rule::Text, generator)));
        }
        Rule::Exposed | Rule::Groups => ways.push(list(of(&Rule::TextOrNumber, generator))),
        Rule::Labels | Rule::Contexts | Rule::Vars => {
            ways.push(each(free(rule)));
            ways.push(list(of(&Rule::Text, generator)));
        }
        Rule::Options | Rule::LogOptions | Rule::TextMap => ways.push(each(free(rule))),
        Rule::Hosts => {
            ways.push(each(of(&Rule::TextOrSet, generator)));
            ways.push(list(of(&Rule::Text, generator)));
        }
        Rule::ProviderOptions => ways.push(each(any_of(vec![free(rule), list(free(rule))]))),
        Rule::Strict(_)
        | Rule::Text
        | Rule::TextOrNumber
        | Rule::TextOrBool
        | Rule::Bool
        | Rule::Flag
        | Rule::Int
        | Rule::Natural
        | Rule::Count
        | Rule::Number
        | Rule::Bits
        | Rule::Float
        | Rule::Bytes
        | Rule::WholeBytes
        | Rule::BytesText
        | Rule::Duration
        | Rule::Period
        | Rule::Mode
        | Rule::DeviceCount => {}
    }
    any_of(ways)
}

/// The scalars that `check` takes for a rule.
fn scalars(rule: &Rule) -> Option<Schema> {
    let takes = |value: &Value| fits(rule, value);
    let (whole, part) = (takes(&Value::Int(1)), takes(&Value::Float(0.5)));
    kinds(&[
        (takes(&Value::Text("a".to_owned())), "string"),
        (part, "number"),
        (whole && !part, "integer"),
        (takes(&Value::Bool(true)), "boolean"),
        (takes(&Value::Null), "null"),
    ])
}

/// The kinds that are taken; `None` if there are none.
fn kinds(all: &[(bool, &str)]) -> Option<Schema> {
    let taken: Vec<&str> = all
        .iter()
        .filter_map(|(takes, kind)| takes.then_some(*kind))
        .collect();
    match taken.as_slice() {
        [] => None,
        [kind] => Some(json_schema!({ "type": kind })),
        kinds => Some(json_schema!({ "type": kinds })),
    }
}

/// One of these words, or a variable that stands for one.
fn choice(words: &[&str]) -> Schema {
    json_schema!({ "type": "string", "anyOf": [{ "enum": words }, { "pattern": "\\$" }] })
}

/// A value of a free mapping.
fn free(rule: &Rule) -> Schema {
    let (null, on, number) = beside_text(rule);
    kinds(&[
        (true, "string"),
        (number, "number"),
        (on, "boolean"),
        (null, "null"),
    ])
    .unwrap_or_default()
}

fn each(values: Schema) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": values })
}

fn list(items: Schema) -> Schema {
    json_schema!({ "type": "array", "items": items })
}

fn any_of(mut ways: Vec<Schema>) -> Schema {
    match ways.len() {
        1 => ways.remove(0),
        _ => json_schema!({ "anyOf": ways }),
    }
}
