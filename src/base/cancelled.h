// What a long job throws when whoever started it wants it to end.
#pragma once

namespace tandem {

struct Cancelled {};

}  // namespace tandem
