/** Switches between the languages with one press: the button names the other language in itself. */
import { useLingui } from '@lingui/react';
import { Languages } from 'lucide-react';
import { Button } from './Button';
import { chooseLanguage, LANGUAGES } from './language';

export function LanguageSwitch() {
  const { i18n } = useLingui();
  const other = LANGUAGES.find((language) => language.id !== i18n.locale) ?? LANGUAGES[0];
  if (!other) return null;
  return (
    <Button look="quiet" size="small" onPress={() => void chooseLanguage(other.id)}>
      <Languages size={18} aria-hidden />
      <span lang={other.id}>{other.name}</span>
    </Button>
  );
}
