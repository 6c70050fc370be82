/** Placeholder types while the API is written: the real ones come from zod. */
export interface TargetKey { readonly namespace: string; readonly name: string }
