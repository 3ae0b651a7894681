//! What the typed chain refuses: each file of `tests/refused/` is a documentation test that must not compile.
//!
//! The texts of the errors are not compared: they belong to one version of the compiler, and a build elsewhere must
//! not fail for that. `tests/saga_form.rs` holds the same chains as they are accepted.

macro_rules! refused {
    ($($name:ident),+ $(,)?) => {$(
        #[doc = concat!(
            "```compile_fail\n",
            include_str!(concat!("../../tests/refused/", stringify!($name), ".rs")),
            "\n```"
        )]
        mod $name {}
    )+};
}

refused! {
    built_without_undo,
    future_is_not_send,
    output_cannot_be_recorded,
    output_does_not_fit,
    pivot_after_step_without_undo,
    reconcile_of_check,
    reconcile_wants_the_output,
    second_pivot,
    step_after_pivot,
    step_without_undo,
    then_before_pivot,
    undo_after_pivot,
    undo_of_check,
    undo_wants_the_output,
}
