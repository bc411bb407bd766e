// Several lambdas as one visitor: std::visit(Overload{[](int) {...}, [](double) {...}}, value).
#pragma once

namespace floe {

template <class... Fs>
struct Overload : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overload(Fs...) -> Overload<Fs...>;  // clang 14 does not deduce it by itself

}  // namespace floe
