// How many threads a command uses.
#pragma once

namespace floe {

// `asked`, or as many as this process may use when that is 0. Throws UsageError for a number that cannot be
// meant.
int thread_count(int asked);

}  // namespace floe
