//! Templates, styles and scripts, and how they become one file.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context, value::Serde};

use crate::encode::Payload;
use crate::{Result, view};

/// The script of the page, by idea, in the order in which later ones use earlier ones.
const SCRIPTS: &[&str] = &[
    include_str!("../assets/js/decode.js"),
    include_str!("../assets/js/format.js"),
    include_str!("../assets/js/dom.js"),
    include_str!("../assets/js/theme.js"),
    include_str!("../assets/js/stats.js"),
    include_str!("../assets/js/model.js"),
    include_str!("../assets/js/selection.js"),
    include_str!("../assets/js/export.js"),
    include_str!("../assets/js/plot.js"),
    include_str!("../assets/js/charts.js"),
    include_str!("../assets/js/heatmap.js"),
    include_str!("../assets/js/scatter.js"),
    include_str!("../assets/js/lanes.js"),
    include_str!("../assets/js/distribution.js"),
    include_str!("../assets/js/numbers.js"),
    include_str!("../assets/js/changed.js"),
    include_str!("../assets/js/search.js"),
    include_str!("../assets/js/live.js"),
    include_str!("../assets/js/main.js"),
];
const STYLE: &str = include_str!("../assets/page.css");
const UPLOT: &str = include_str!("../assets/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("../assets/uPlot.min.css");

const TEMPLATES: &[(&str, &str)] = &[
    ("macros.html", include_str!("../assets/html/macros.html")),
    ("page.html", include_str!("../assets/html/page.html")),
    ("verdict.html", include_str!("../assets/html/verdict.html")),
    ("headline.html", include_str!("../assets/html/headline.html")),
    ("comparison.html", include_str!("../assets/html/comparison.html")),
    ("diagnosis.html", include_str!("../assets/html/diagnosis.html")),
    ("budget.html", include_str!("../assets/html/budget.html")),
    ("numbers.html", include_str!("../assets/html/numbers.html")),
    ("charts.html", include_str!("../assets/html/charts.html")),
    ("requests.html", include_str!("../assets/html/requests.html")),
    ("events.html", include_str!("../assets/html/events.html")),
    ("settings.html", include_str!("../assets/html/settings.html")),
];

/// Sections that change while a run goes on: a section's element has its name as identifier.
const FRAGMENTS: &[&str] = &["verdict", "headline", "diagnosis", "budget", "events", "settings"];

/// Nothing is loaded from anywhere: what tries to is refused by the browser.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; \
     base-uri 'none'; form-action 'none'";
/// A live page may ask the server that it came from for events.
const LIVE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Templates whose names end in `.html` escape every value; only the constants of this file are marked as safe.
fn templates() -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

pub(crate) fn page(view: &view::Page, payload: &Payload) -> Result<String> {
    let context = context! {
        page => Value::from(Serde(view)),
        policy => if view.live { LIVE_POLICY } else { POLICY },
        blocks => Value::from(Serde(&payload.blocks)),
        remarks => Value::from(Serde(&payload.remarks)),
        uplot => UPLOT,
        uplot_style => UPLOT_STYLE,
        style => STYLE,
        script => SCRIPTS.concat(),
    };
    Ok(templates()?.get_template("page.html")?.render(context)?)
}

/// The sections that change, by identifier.
pub(crate) fn fragments(view: &view::Page) -> Result<Vec<(&'static str, String)>> {
    let environment = templates()?;
    let page = Value::from(Serde(view));
    FRAGMENTS
        .iter()
        .map(|name| {
            let template = environment.get_template(&format!("{name}.html"))?;
            Ok((*name, template.render(context! { page => page.clone() })?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// SHA-256 of the files of uPlot 1.6.32; `scripts/update-assets` fetches them.
    #[test]
    fn the_chart_library_is_the_one_released() {
        let sum = |text: &str| {
            Sha256::digest(text)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        };
        assert_eq!(
            sum(UPLOT),
            "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
        );
        assert_eq!(
            sum(UPLOT_STYLE),
            "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"
        );
    }

    #[test]
    fn no_script_ends_its_own_element_or_writes_html() {
        for script in SCRIPTS.iter().chain([&UPLOT]) {
            assert!(
                !script.to_lowercase().contains("</script"),
                "an inline script cannot hold its end tag"
            );
        }
        for script in SCRIPTS {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(
                    !script.contains(word),
                    "{word}: text from a recording must not become HTML"
                );
            }
        }
    }
}
