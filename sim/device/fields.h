// Every leaf of a device description once: where it stands in the JSON, its unit, what values are sane, and the member
// of `Device` that it fills. The reader, `--set`, `device show` and the tests all walk this table, so that a parameter
// is added in two places: the struct and one line here.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "device/device.h"

namespace memwall::device {

using Target = std::variant<double*, int*, std::uint64_t*, std::string*, std::vector<int>*, std::vector<EdgeOverride>*>;

struct Field {
    std::string pointer;  ///< "/sm/max_threads"
    std::string unit;     ///< "cycles", "ns", "bytes per SM cycle", "count", ...
    Target target;
    double lowest = 0, highest = 0;    ///< of a number, or of each element of a list
    std::vector<std::string> choices;  ///< of a string; empty: any text
};

/// The fields of `device`, in the order of the structs. The pointers in it look into `device`.
[[nodiscard]] std::vector<Field> fields_of(Device& device);

}  // namespace memwall::device
