//! The table of a sweep as Parquet: one row group, columns in the order of the CSV, no compression.
//!
//! Numbers that are not known are nulls. The file names no version of any library, so the same table gives the same
//! bytes until the writing library itself changes.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use seawall_report::figures::{Cell, Kind};
use seawall_report::sweep::Sweep;

/// The table as the bytes of a Parquet file.
///
/// # Errors
/// What the writer says; writing to memory, it has no reason to.
pub fn parquet(sweep: &Sweep) -> Result<Vec<u8>, String> {
    write(sweep).map_err(|error| error.to_string())
}

fn write(sweep: &Sweep) -> Result<Vec<u8>, ParquetError> {
    let headings = sweep.headings();
    let field = |(name, kind): (&str, Kind)| -> Result<Arc<Type>, ParquetError> {
        let (physical, logical) = match kind {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Count => (Physical::INT64, None),
            Kind::Number => (Physical::DOUBLE, None),
            Kind::Flag => (Physical::BOOLEAN, None),
        };
        let repetition = if kind == Kind::Number {
            Repetition::OPTIONAL
        } else {
            Repetition::REQUIRED
        };
        let field = Type::primitive_type_builder(name, physical)
            .with_logical_type(logical)
            .with_repetition(repetition)
            .build()?;
        Ok(Arc::new(field))
    };
    let fields = headings
        .iter()
        .map(|heading| field((&heading.name, heading.kind)));
    let schema = Type::group_type_builder("sweep")
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    let properties = WriterProperties::builder()
        .set_created_by("seawall".to_owned())
        .build();
    let rows: Vec<Vec<Cell>> = sweep.table().collect();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let mut index = 0;
    while let Some(mut column) = group.next_column()? {
        let cells: Vec<&Cell> = rows.iter().map(|row| &row[index]).collect();
        fill(&mut column, headings[index].kind, &cells)?;
        column.close()?;
        index += 1;
    }
    group.close()?;
    writer.into_inner()
}

fn fill(column: &mut SerializedColumnWriter<'_>, kind: Kind, cells: &[&Cell]) -> Result<(), ParquetError> {
    match kind {
        Kind::Text => {
            let text = |cell: &&Cell| match cell {
                Cell::Text(text) => ByteArray::from(text.as_str()),
                _ => ByteArray::from(""),
            };
            let values: Vec<ByteArray> = cells.iter().map(text).collect();
            column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
        }
        Kind::Count => {
            let count = |cell: &&Cell| match cell {
                Cell::Count(count) => i64::try_from(*count).unwrap_or(i64::MAX),
                _ => 0,
            };
            let values: Vec<i64> = cells.iter().map(count).collect();
            column.typed::<Int64Type>().write_batch(&values, None, None)?;
        }
        Kind::Number => {
            let number = |cell: &&Cell| match cell {
                Cell::Number(number) if number.is_finite() => Some(*number),
                _ => None,
            };
            let values: Vec<f64> = cells.iter().filter_map(number).collect();
            let known: Vec<i16> = cells
                .iter()
                .map(|cell| i16::from(number(cell).is_some()))
                .collect();
            column
                .typed::<DoubleType>()
                .write_batch(&values, Some(&known), None)?;
        }
        Kind::Flag => {
            let values: Vec<bool> = cells.iter().map(|cell| **cell == Cell::Flag(true)).collect();
            column.typed::<BoolType>().write_batch(&values, None, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use seawall_report::figures::Figures;
    use seawall_report::sweep::Axis;

    #[test]
    fn a_reader_finds_what_was_written() {
        let figures = |recovery_s| Figures {
            recovery_s,
            requests: 7,
            ..Figures::default()
        };
        let sweep = Sweep {
            axes: vec![Axis {
                path: "a.b".into(),
                values: vec!["1/s".into(), "2/s".into()],
                numbers: vec![1.0, 2.0],
            }],
            variants: vec!["one".into()],
            rows: vec![figures(0.25), figures(f64::NAN)],
            ..Sweep::default()
        };
        let bytes = parquet(&sweep).expect("memory takes it");
        assert_eq!(bytes, parquet(&sweep).expect("memory takes it"), "the same bytes");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
        let rows: Vec<Vec<(String, Field)>> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| row.expect("a row").into_columns())
            .collect();
        let cell = |row: usize, name: &str| {
            let column = rows[row].iter().find(|(column, _)| column == name);
            column.map(|(_, field)| field.clone())
        };
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].len(), sweep.headings().len());
        assert_eq!(cell(1, "a.b"), Some(Field::Double(2.0)));
        assert_eq!(cell(1, "variant"), Some(Field::Str("one".into())));
        assert_eq!(cell(0, "recovery_s"), Some(Field::Double(0.25)));
        assert_eq!(cell(1, "recovery_s"), Some(Field::Null));
        assert_eq!(cell(1, "requests"), Some(Field::Long(7)));
        assert_eq!(cell(0, "met"), Some(Field::Bool(false)));
        assert_eq!(cell(0, "class"), Some(Field::Str("holds".into())));
    }
}
