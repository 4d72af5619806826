// Where the time of a training step goes: what bench train has measured, as a table and as a picture.
#pragma once

#include <filesystem>
#include <string>

#include "base/json_fwd.h"

namespace tandem::app {

// `step`: the object of bench train, with its `ops`.
std::string step_text(const OrderedJson& step);

// step.json, step.md, step.svg and step.png in a folder that is there. `command`: what measured it.
void write_step_report(const std::filesystem::path& folder, const OrderedJson& step, const std::string& command);

}  // namespace tandem::app
