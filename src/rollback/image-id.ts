/** An image's digest as people know it, the first twelve digits; a name without one stays as it is. */
export const shortImageId = (id: string): string => /sha256:(\w{1,12})/.exec(id)?.[1] ?? id;
