//! One stored run as PNG, SVG, HTML and JSON.
