use parquet::file::metadata::{ColumnChunkMetaData, ColumnChunkMetaDataBuilder};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::*;

#[test]
fn whole_milliseconds_stay_whole_however_they_are_stored() {
    let nanos = Meaning::Number(1.0, per_ms(TimeUnit::NANOS));
    for ms in [1_700_000_000_002, 1_700_000_000_006, -1_700_000_000_002] {
        assert_ne!((ms * 1_000_000) as f64 / 1e6, ms as f64, "a float loses it");
        assert_eq!(nanos.long(ms * 1_000_000), ms as f64);
    }
    assert_eq!(nanos.long(1_700_000_000_002_500_000), 1_700_000_000_002.5);
    assert_eq!(nanos.long(1_500_000), 1.5);
    assert_eq!(nanos.long(i64::MIN), i64::MIN as f64 / 1e6);
    assert_eq!(Meaning::Unsigned.long(-1), u64::MAX as f64);
}

#[test]
fn a_column_before_its_file_is_refused() {
    let schema = parse_message_type("message rows { required int32 a; }").unwrap();
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
    let placed = |set: fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder| {
        let column = set(ColumnChunkMetaData::builder(schema.column(0)));
        let group = RowGroupMetaData::builder(Arc::clone(&schema));
        let group = group.add_column_metadata(column.build().unwrap());
        is_placed(&group.build().unwrap())
    };
    assert!(placed(|it| it.set_data_page_offset(4)));
    assert!(!placed(|it| it.set_data_page_offset(-4)));
    assert!(!placed(|it| it.set_dictionary_page_offset(Some(-4))));
    assert!(!placed(|it| it.set_total_compressed_size(-1)));
}
