// For tsc alone, and not of marked: the module is taken as it is.
export const Lexer: any;
