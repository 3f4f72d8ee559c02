// A value that the page shows wherever it is used, and that changes under it.
import { useEffect, useState } from "./vendor/standalone.module.js";

export function observable(value) {
  const readers = new Set();
  return {
    get: () => value,
    set(next) {
      value = next;
      for (const reader of [...readers]) reader();
    },
    use() {
      const [, turn] = useState(0);
      useEffect(() => {
        const reader = () => turn((count) => count + 1);
        readers.add(reader);
        // It may have changed between the first drawing and now.
        reader();
        return () => readers.delete(reader);
      }, []);
      return value;
    },
  };
}
