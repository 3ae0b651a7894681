//! The chart of accounts, and which account an invoice belongs to.
//!
//! The assistant and the rules that stand in for it must agree about the account, or else the books would depend on
//! which of them was asked. What the assistant adds, a cost centre, is advice and is not booked.

use serde::{Deserialize, Serialize};

/// The account that payments leave from.
pub(crate) const BANK_CLEARING: &str = "1210";

/// Where what no rule knows is booked, to be looked at by a person.
const OTHER_EXPENSES: &str = "6980";

/// Words of a supplier or description, and the account they stand for. The first that is found decides.
const RULES: [(&str, &str); 27] = [
    ("raw material", "5100"),
    ("packaging", "5110"),
    ("freight", "5800"),
    ("customs", "5810"),
    ("payroll", "6020"),
    ("rent", "6310"),
    ("electricity", "6325"),
    ("gas", "6326"),
    ("cleaning", "6330"),
    ("insurance", "6400"),
    ("maintenance", "6450"),
    ("repair", "6450"),
    ("advertising", "6600"),
    ("trade fair", "6605"),
    ("brochure", "6610"),
    ("catering", "6640"),
    ("coffee", "6645"),
    ("ticket", "6650"),
    ("flight", "6650"),
    ("telephone", "6805"),
    ("office supplies", "6815"),
    ("toner", "6815"),
    ("training", "6821"),
    ("legal", "6825"),
    ("consult", "6827"),
    ("cloud", "6835"),
    ("software", "6837"),
];

/// How an invoice is booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Coding {
    pub(crate) account: String,
    /// Only the assistant knows one.
    pub(crate) cost_centre: Option<String>,
}

/// The account by rule.
pub(crate) fn by_rules(supplier: &str, description: &str) -> Coding {
    let text = format!("{description} {supplier}").to_lowercase();
    let account = RULES
        .into_iter()
        .find(|(word, _)| text.contains(word))
        .map_or(OTHER_EXPENSES, |(_, account)| account);
    Coding {
        account: account.to_owned(),
        cost_centre: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_decides() {
        let account = |supplier, description| by_rules(supplier, description).account;
        assert_eq!(
            account("Bâtiments Réunis SA", "Warehouse rent, March 2026"),
            "6310"
        );
        assert_eq!(account("Contoso Cloud GmbH", "Object storage"), "6835");
        assert_eq!(account("Unheard-of Ltd", "???"), OTHER_EXPENSES);
    }
}
