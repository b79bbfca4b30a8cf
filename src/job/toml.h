#pragma once

// toml++ 3.3 asserts on keys such as "[=" before it reports them; without the assertion they are ordinary
// syntax errors.
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>
