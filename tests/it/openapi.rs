//! The description of the API: whoever changes it sees what clients will see.

#[test]
fn the_description_is_what_it_was() {
    let document = clipseek::api::document();
    let parsed: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(parsed["openapi"], "3.1.0");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("openapi", document);
    });
}
