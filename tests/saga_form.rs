//! What the typed chain accepts, what it refuses, and what the compiler says then.
//!
//! The texts beside the refused programs are those of one version of the compiler; elsewhere only the refusal itself
//! would be sure, so the comparison runs on that version alone. `TRYBUILD=overwrite` writes them anew.

#[test]
fn the_form() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
